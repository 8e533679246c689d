/* Which way an IPv6 packet goes: a tree of nodes with a slot for each value of four bits of the address, as fib.h's is of blocks.
 *
 * A slot is the number of a way, or 0 if there is none; or, with FIB6_NODE, that of a node and which of the address's 32 digits
 * chooses there; or, with FIB6_TEST, that of a row that asks whether the address begins with a prefix. So there are nodes only
 * where prefixes part, and a prefix that no other shares its beginning with is one row, however long it is.
 *
 * Rows that packets may be in are never written, and the tables grow together, as in fib.h. cubes/router/tree6.py makes the rows.
 */
struct fib6_node {
  u32 slots[16];
};
struct fib6_test {
  u64 high, low; /* the prefix, as numbers */
  u32 inside, outside;
  u8 high_rest, low_rest, no_low; /* bits that do not count of each: 0 to 63, and 1 more where none of the lower half does */
  u8 zero[5];
};
BPF_TABLE("array", u32, struct fib6_node, fib6_nodes, 64);
BPF_TABLE("array", u32, struct fib6_test, fib6_tests, 64);
BPF_TABLE("array", u32, struct route, fib6_ways, 64);
BPF_TABLE("array", u32, u32, fib6_root, 64); /* row 0 is a slot; row 1 says how many rows the four have. No program reads it */

#define FIB6_NODE 0x80000000
#define FIB6_TEST 0x40000000
#define FIB6_DIGIT 25 /* where the number of the digit begins, of 5 bits */
#define FIB6_NUMBER 0x01ffffff
#define FIB6_STEPS 32 /* each but the last goes on by a digit of the address, or more */

/* Without branches, of which the verifier would follow each in every step. */
static __always_inline bool begins_with(u64 high, u64 low, struct fib6_test *prefix) {
  u64 above = (high ^ prefix->high) >> (prefix->high_rest & 63);
  u64 below = (low ^ prefix->low) >> (prefix->low_rest & 63) >> (prefix->no_low & 1);
  return (above | below) == 0;
}

static __always_inline struct route *find_route6(const u8 *address) {
  u32 zero = 0, *root = fib6_root.lookup(&zero);
  if (!root)
    return NULL;
  u64 halves[2];
  __builtin_memcpy(halves, address, 16);
  u64 high = bpf_ntohll(halves[0]), low = bpf_ntohll(halves[1]);
  u32 slot = *root;
#pragma clang loop unroll(disable)
  for (int step = 0; step < FIB6_STEPS; step++) {
    u32 number = slot & FIB6_NUMBER;
    if (slot & FIB6_NODE) {
      struct fib6_node *node = fib6_nodes.lookup(&number);
      if (!node)
        return NULL;
      u64 digit = slot >> FIB6_DIGIT & 31, half = high ^ ((high ^ low) & -(digit >> 4));
      slot = node->slots[half >> (60 - 4 * (digit & 15)) & 15];
    } else if (slot & FIB6_TEST) {
      struct fib6_test *test = fib6_tests.lookup(&number);
      if (!test)
        return NULL;
      slot = begins_with(high, low, test) ? test->inside : test->outside;
    } else
      break;
  }
  return slot ? fib6_ways.lookup(&slot) : NULL;
}
