/* Whether a packet, of which lib/find_sets.h has found the sets, is in those that a rule or a tuple asks for. */

/* Whether an address that is in these sets is not where a rule, or a tuple, wants it. Every address is in 0. */
static __always_inline u64 is_outside(const struct members *in, u32 said) {
  u32 word = said >> 6;
  asm volatile("" : "+r"(word)); /* or the compiler folds the mask, by which the verifier knows the bounds */
  return 1 & ~(in->bits[word & (SET_WORDS - 1)] >> (said & 63) ^ said >> 15);
}

static __always_inline u64 is_outside_both(const struct packet *packet, u32 sets) {
  return is_outside(&packet->src_in, sets & 0xffff) | is_outside(&packet->dst_in, sets >> 16);
}
