/* What the µCubes of a doorman share. */
struct station {
  u8 mac[6];
  u8 zero[2];
};
enum doorman_ruling { ADMITTED = 1, TURNED_AWAY };
enum doorman_reason { NEWCOMER = 1 };
