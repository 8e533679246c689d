/* Consistent hashing: rings of slots, each with the number of a backend (Eisenbud et al., Maglev, NSDI 2016). Who reads a slot at a
 * flow's hash finds each backend by its weight, and mostly the same one after others have come and gone. cubes/lib/maglev.py fills
 * the table.
 *
 * A ring is as long as its backends need, and lies in pages by its number: 10,000 short ones are 10,000 rows.
 */
#ifndef PCN_LIB_MAGLEV_H
#define PCN_LIB_MAGLEV_H

#define RING_PAGE 256 /* slots; a power of two */

struct ring_key {
  u32 ring, page;
};
struct ring_page {
  u32 slots[RING_PAGE];
};
BPF_F_TABLE("hash", struct ring_key, struct ring_page, rings, 262144, BPF_F_NO_PREALLOC);

static __always_inline u32 rotl32(u32 word, u32 by) { return word << by | word >> (32 - by); }

/* MurmurHash3_x86_32 with seed 0, of whole words. `count` is a constant; loop bound: it. */
static __always_inline u32 hash_words(const u32 *words, u32 count) {
  u32 hash = 0;
#pragma unroll
  for (u32 i = 0; i < count; i++) {
    hash ^= rotl32(words[i] * 0xcc9e2d51, 15) * 0x1b873593;
    hash = rotl32(hash, 13) * 5 + 0xe6546b64;
  }
  hash ^= count * 4;
  hash = (hash ^ hash >> 16) * 0x85ebca6b;
  hash = (hash ^ hash >> 13) * 0xc2b2ae35;
  return hash ^ hash >> 16;
}

/* The slot of a ring of `size` slots at this hash; NULL: the ring is not there. */
static __always_inline u32 *ring_slot(u32 ring, u32 size, u32 hash) {
  u32 slot = (u64)hash * size >> 32;
  struct ring_key key = {.ring = ring, .page = slot / RING_PAGE};
  struct ring_page *page = rings.lookup(&key);
  return page ? &page->slots[slot % RING_PAGE] : NULL;
}
#endif
