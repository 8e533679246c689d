/* A TCP segment that becomes the answer to itself: its header, and the way back. TCP's checksum is the caller's. */
#ifndef PCN_LIB_SEGMENT_H
#define PCN_LIB_SEGMENT_H
#include "lib/csum.h"
#include "lib/parse.h"

#define ANSWER_HOPS 64

enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_ACK = 16 };

struct segment { /* a TCP header up to its checksum */
  u16 sport, dport;
  u32 seq, ack;
  u8 offset, flags;
  u16 window, check;
} __attribute__((packed));

static __always_inline void swap_macs(struct CTXTYPE *ctx) {
  u8 macs[12], swapped[12];
  if (pcn_load_bytes(ctx, 0, macs, 12) < 0)
    return;
  __builtin_memcpy(swapped, macs + 6, 6);
  __builtin_memcpy(swapped + 6, macs, 6);
  pcn_store_bytes(ctx, 0, swapped, 12);
}

/* Both addresses change places, which no checksum notices. */
static __always_inline void swap_addresses(struct CTXTYPE *ctx, const struct parsed *is) {
  u32 swapped[8];
  if (is->family == 4) {
    swapped[0] = is->dst[3];
    swapped[1] = is->src[3];
    pcn_store_bytes(ctx, is->l3 + offsetof(struct iphdr, saddr), swapped, 8);
  } else {
    __builtin_memcpy(swapped, is->dst, 16);
    __builtin_memcpy(swapped + 4, is->src, 16);
    pcn_store_bytes(ctx, is->l3 + offsetof(struct ipv6hdr, saddr), swapped, 32);
  }
}

/* The rest of its header is as if it were made afresh: the packet's TTL may be used up, and its marks were for who was to get it. */
static __always_inline bool renew_header(struct CTXTYPE *ctx, const struct parsed *is) {
  if (is->family == 4) {
    struct iphdr ip;
    if (pcn_load_bytes(ctx, is->l3, &ip, sizeof(ip)) < 0)
      return false;
    ip.tos = 0;
    ip.id = 0;
    ip.frag_off = htons(0x4000); /* it must not be taken apart */
    ip.ttl = ANSWER_HOPS;
    ip.check = 0;
    ip.check = pcn_csum_fold(bpf_csum_diff(0, 0, (void *)&ip, sizeof(ip), 0));
    return pcn_store_bytes(ctx, is->l3, &ip, offsetof(struct iphdr, saddr)) == 0;
  }
  struct {
    u32 class_and_flow;
    u16 length;
    u8 next, hops;
  } ip;
  if (pcn_load_bytes(ctx, is->l3, &ip, sizeof(ip)) < 0)
    return false;
  ip.class_and_flow = htonl(0x60000000);
  ip.hops = ANSWER_HOPS;
  return pcn_store_bytes(ctx, is->l3, &ip, sizeof(ip)) == 0;
}
#endif
