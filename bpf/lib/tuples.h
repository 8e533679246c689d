/* A rule set for tuple space search (lib/classify.h): what its tables and its conditions are made of.
 *
 * Tuples are in pages, in one of two banks, of which the epoch's last bit chooses one. A cell is there in some epochs, and one word says
 * which epoch it is; so a change of rules is in force all at once. cubes/lib/epochs.py makes such rows.
 */
#ifndef PCN_LIB_TUPLES_H
#define PCN_LIB_TUPLES_H
#define PAGE_TUPLES 8
#define BANK_PAGES 64
#define NO_LABEL (~0ULL)

struct lifetime {
  u32 born, dies; /* epochs: it is there from the first until before the second */
  u32 more;       /* 1: there is another cell, with the next `seat` */
  u32 zero;
};

/* Comparisons without a branch: 1 or 0, of a number that the verifier does not know. With a branch for each it would follow every
 * combination of outcomes to the end of the search (over a million instructions on Linux 6.1), and the CPU would have to guess them. */
static __always_inline u64 top_bit(u64 value) {
  asm("" : "+r"(value)); /* or the compiler makes a comparison of it, and a branch of that */
  return value >> 63;
}
static __always_inline u64 is_less(u64 a, u64 b) { return top_bit(a - b); } /* of numbers below 2^63, as labels are */
static __always_inline u64 is_some(u64 value) { return top_bit(value | -value); }
#endif
