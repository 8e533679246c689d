/* Sets of addresses, which rules name by their numbers: an entry is a row, and in no rule. docs/decisions has the reasons, and
 * cubes/lib/set_rows.py fills the tables. */
#ifndef PCN_LIB_ADDRESS_SETS_H
#define PCN_LIB_ADDRESS_SETS_H
#include "lib/lpm.h"

#define SET_WORDS 8    /* numbers below 512 */
#define SET_NOT 0x8000 /* beside a number: only what is not in the set */
enum sets { SETS_SRC = 1, SETS_DST = 2, SETS_FOUND = 4, SETS_SMAC = 8 /* and who sent the frame */ };

struct address {
  u32 words[4];
};
struct set_name {
  u8 name[64];
};
struct members {
  u64 bits[SET_WORDS]; /* by number of a set: whether it is in it */
};
struct set_host {
  u32 address[4]; /* the key, first: see lib/classify.h */
  struct members in;
};
struct set_prefix {
  struct members in;  /* by itself, or because a shorter prefix is */
  struct members own; /* by itself: what is written */
};
BPF_F_TABLE("hash", u32, struct set_name, sets, 512, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", struct address, struct set_host, set_hosts, 131072, BPF_F_NO_PREALLOC);
BPF_F_TABLE("lpm_trie", struct prefix6, struct set_prefix, set_prefixes, 131072, BPF_F_NO_PREALLOC);
#endif
