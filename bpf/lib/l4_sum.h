/* Whether the checksum of what an IP packet carries is right. It is asked of packets that are accepted and make a connection or change
 * its state, and of ICMP but for the echoes of a known one. Of others it would cost as much as all else that is done for them.
 *
 * Right is also a checksum that is not finished, that of the pseudo header alone: under TC, and on a veth, a packet of a local sender
 * has it until hardware completes it, and nothing tells a program so. Not looked at: packets of several segments (the kernel has seen
 * to each), fragments, and what is longer than SUMMED.
 */
#ifndef PCN_LIB_L4_SUM_H
#define PCN_LIB_L4_SUM_H
#define CHUNK 256
#define SMALL 64
#define SUMMED 9216

/* Whole chunks, whole small ones, then what is left: most packets that begin something are small. Loop bounds: SUMMED / CHUNK, and
 * CHUNK / SMALL. */
static __always_inline bool add_payload(struct CTXTYPE *ctx, u32 at, u32 left, u64 *sum) {
  u32 words[CHUNK / 4];
  u64 size;
  for (int i = 0; i < SUMMED / CHUNK && left >= CHUNK; i++) {
    asm volatile("" : "+r"(left)); /* or the compiler counts rounds by it, and the verifier sees no end */
    if (pcn_load_bytes(ctx, at, words, CHUNK) < 0)
      return false;
    *sum += (u32)bpf_csum_diff(0, 0, words, CHUNK, 0);
    at += CHUNK;
    left -= CHUNK;
  }
  for (int i = 0; i < CHUNK / SMALL && left >= SMALL; i++) {
    asm volatile("" : "+r"(left));
    if (pcn_load_bytes(ctx, at, words, SMALL) < 0)
      return false;
    *sum += (u32)bpf_csum_diff(0, 0, words, SMALL, 0);
    at += SMALL;
    left -= SMALL;
  }
  if (!left)
    return true;
  __builtin_memset(words, 0, SMALL);
  size = left - 1;
  asm("" : "+r"(size)); /* or the compiler drops the mask, by which the verifier knows the bounds */
  if (pcn_load_bytes(ctx, at, words, (size & (SMALL - 1)) + 1) < 0)
    return false;
  *sum += (u32)bpf_csum_diff(0, 0, words, SMALL, 0);
  return true;
}

static __always_inline u64 sum_of_addresses(const struct packet *packet) {
  u64 sum = 0;
#pragma unroll
  for (int i = 0; i < 4; i++)
    sum += (u64)packet->src[i] + packet->dst[i];
  return sum;
}

static __always_inline bool is_whole(struct CTXTYPE *ctx, struct packet *packet) {
  u32 size = packet->payload_end - packet->l4;
  u8 proto = packet->proto;
  bool is_icmp4 = packet->family == 4 && proto == IPPROTO_ICMP, is_icmp6 = packet->family == 6 && proto == IPPROTO_ICMPV6;
  u32 field = proto == IPPROTO_TCP ? 16 : proto == IPPROTO_UDP ? 6 : 2;
  u64 sum = 0;
  u16 said;
#if !PCN_XDP
  if (ctx->gso_size)
    return true;
#endif
  if (packet->fragment || size > SUMMED || (proto != IPPROTO_TCP && proto != IPPROTO_UDP && !is_icmp4 && !is_icmp6))
    return true;
  if (pcn_load_bytes(ctx, packet->l4 + field, &said, 2) < 0)
    return false;
  if (proto == IPPROTO_UDP && !said)
    return true;
  if (!is_icmp4) { /* addresses of IPv4 are mapped by 0xffff, which is nothing in this arithmetic */
    sum = sum_of_addresses(packet) + htonl(size) + htonl(proto);
    if (!is_icmp6 && said == (u16)~pcn_csum_fold(sum))
      return true;
  }
  return add_payload(ctx, packet->l4, size, &sum) && pcn_csum_fold(sum) == 0;
}
#endif
