/* Which way an IPv4 packet goes: a tree whose blocks have a slot for each value of one byte of the address.
 *
 * The first byte chooses a slot in the first block, and so on. A slot is the number of a way, or 0 if there is none, or, with
 * FIB_DEEPER, the number of the block for the next byte; a prefix that ends in the middle of a byte fills several slots. So a
 * packet takes as many steps as its longest prefix has bytes, whatever the number of routes.
 *
 * A block that packets may be in is never written: an edit makes new ones, up to the first, and `fib4_root` leads to that one
 * by one write. So a packet is sent by the routes before an edit or by those after it. cubes/router/tree.py makes the rows.
 *
 * The three tables are numbered alike and grow together: were one exchanged alone, programs before the exchange would follow new
 * numbers into old tables.
 */
struct fib_block {
  u32 slots[256];
};
BPF_TABLE("array", u32, struct fib_block, fib4_blocks, 64);
BPF_TABLE("array", u32, struct route, fib4_ways, 64);
BPF_TABLE("array", u32, u32, fib4_root, 64); /* row 0 is a slot; row 1 says how many rows the three have. No program reads it */

#define FIB_DEEPER 0x80000000

static __always_inline struct route *find_route4(const u8 *address) {
  u32 zero = 0, *root = fib4_root.lookup(&zero);
  if (!root)
    return NULL;
  u32 slot = *root;
#pragma unroll
  for (int at = 0; at < 4; at++) { /* a block for each byte of the address */
    if (!(slot & FIB_DEEPER))
      break;
    u32 number = slot & ~FIB_DEEPER;
    struct fib_block *block = fib4_blocks.lookup(&number);
    if (!block)
      return NULL;
    slot = block->slots[address[at]];
  }
  return slot ? fib4_ways.lookup(&slot) : NULL;
}
