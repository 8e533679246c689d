/* Rules that match and need not decide (they log, or have a limit): a search (lib/classify.h) keeps the first of them, in order, and goes
 * on for the rule that does. So one search does for all of them, where each would cost another one.
 *
 * The includer has, after lib/tuples.h, a struct verdict of whole words of 64 bits.
 */
#ifndef PCN_LIB_UNDECIDED_H
#define PCN_LIB_UNDECIDED_H
#define UNDECIDED 4
#define NOBODY (NO_LABEL >> 1) /* behind all labels, and still a number that is_less takes */
#define VERDICT_WORDS (sizeof(struct verdict) / 8)

struct undecided {
  u64 label;
  struct verdict verdict;
};
struct undecided_rules {
  u32 some; /* 0: none, whatever stands in `rules` */
  u32 zero;
  struct undecided rules[UNDECIDED]; /* in the order of their labels, then NOBODY */
};

/* One more of them takes its place; those behind it move on by one. Gives the label of which there is no room for, or NOBODY. A rule may
 * match by several cells, and is there once. There is no branch (see lib/tuples.h), and no mask of all bits or none, of which the verifier follows
 * both: 0 or 1 is multiplied with. */
static __always_inline u64 keep_undecided(struct undecided_rules *known, u64 label, const struct verdict *verdict) {
  u64 word[VERDICT_WORDS], none = (1 ^ is_some(known->some)) * NOBODY;
  __builtin_memcpy(word, verdict, sizeof(word));
  known->some = 1;
#pragma unroll
  for (int i = 0; i < UNDECIDED; i++) {
    u64 *own = (u64 *)&known->rules[i].verdict, there = known->rules[i].label | none;
    u64 moves = is_less(label, there), both = (label ^ there) * moves;
    known->rules[i].label = there ^ both;
    label |= (1 ^ is_some(label ^ there)) * NOBODY; /* the same rule once more: nobody moves on */
    label ^= both;
#pragma unroll
    for (int w = 0; w < VERDICT_WORDS; w++) {
      u64 swapped = (own[w] ^ word[w]) * moves;
      own[w] ^= swapped;
      word[w] ^= swapped;
    }
  }
  return label;
}
#endif
