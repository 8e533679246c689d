/* Neighbour discovery (RFC 4861): what is heard of it, the answer to a solicitation, and a solicitation. Frames are untagged, and no
 * extension headers are before the message.
 *
 *     is_nd(ip, data_end)                        whether it is a solicitation or an advertisement at all
 *     struct nd_message said;
 *     nd_read(ctx, md, &said)                    what it says, if it is one that 7.1.1 and 7.1.2 let in
 *     nd_advertise(ctx, md, mac, &said, flags)   the solicitation becomes the answer to it; true: it is made
 *     nd_solicit(ctx, md, mac, own, asked)       whatever packet is at hand becomes the question; true: it is made
 *
 * The two that make something move the packet: pointers into it must be made anew; the caller sends it. Who is learned from what is heard,
 * and whether an address is one's own, is the caller's too. The last three are for one µCube at most each: they use much stack.
 */
#ifndef PCN_LIB_ND_H
#define PCN_LIB_ND_H
#include "lib/addr.h"
#include "lib/craft.h"
#include "lib/csum.h"

#define ND_AT (sizeof(struct ethhdr) + sizeof(struct ipv6hdr))
#define ND_SOLICIT 135
#define ND_ADVERTISE 136
#define ND_OPTION_SOURCE 1    /* link-layer address of who solicits */
#define ND_OPTION_TARGET 2    /* and of who advertises */
#define ND_OPTION_UNKNOWN 253 /* for experiments (RFC 4727); RFC 4861: hosts "MUST silently ignore" what they do not know */
#define ND_ROUTER 0x80        /* flags of an advertisement: */
#define ND_SOLICITED 0x40
#define ND_OVERRIDE 0x20
#define ND_MOST 1536  /* bytes of a message: what is longer is none */
#define ND_OPTIONS 32 /* what has more is none */
#define ND_STEP 64    /* bytes that are summed at once */

struct nd_option { /* one with a link-layer address */
  u8 type, length; /* in units of 8 bytes */
  u8 mac[6];
};
struct nd { /* a solicitation or an advertisement; options follow */
  u8 type, code;
  u16 check;
  u8 flags, zero[3];
  u8 target[16];
};
struct nd_message { /* what one says */
  u8 from[16], to[16]; /* addresses of the packet; `from` is :: of who looks for duplicates of its own */
  u8 target[16];
  u8 flags;
  bool solicits, has_mac;
  u8 mac[6];  /* of its option */
  u8 link[6]; /* its frame's source */
};

/* `ip` is whole. */
static __always_inline bool is_nd(const struct ipv6hdr *ip, void *data_end) {
  const u8 *type = (const u8 *)(ip + 1);
  return ip->nexthdr == IPPROTO_ICMPV6 && (void *)(type + 1) <= data_end && (*type == ND_SOLICIT || *type == ND_ADVERTISE);
}

/* Whether the checksum of a message of `size` bytes is right. Loop bound: ND_MOST / ND_STEP. */
static __always_inline bool nd_checks_out(struct CTXTYPE *ctx, struct nd_message *said, u32 size) {
  u64 sum = csum_pseudo6(said->from, size, IPPROTO_ICMPV6);
#pragma clang loop unroll(disable)
  for (u32 at = 0; at < ND_MOST; at += ND_STEP) {
    if (at >= size)
      return pcn_csum_fold(sum) == 0;
    u64 part = size - at < ND_STEP ? size - at : ND_STEP;
    u32 words[ND_STEP / 4] = {};
    if (!pcn_bound(&part, ND_STEP) || pcn_load_bytes(ctx, ND_AT + at, words, part))
      return false;
    sum = bpf_csum_diff(0, 0, (void *)words, ND_STEP, sum);
  }
  return size == ND_MOST && pcn_csum_fold(sum) == 0;
}

/* Whether all options are whole, and the link-layer address that the first of this type tells. Loop bound: ND_OPTIONS. */
static __always_inline bool nd_read_options(struct CTXTYPE *ctx, struct nd_message *said, u32 size, u8 type) {
  u32 at = sizeof(struct nd);
#pragma clang loop unroll(disable)
  for (u32 count = 0; count < ND_OPTIONS; count++) {
    struct nd_option option;
    if (at == size)
      return true;
    if (at + sizeof(option) > size || pcn_load_bytes(ctx, ND_AT + at, &option, sizeof(option)) || !option.length)
      return false;
    at += option.length * 8;
    if (option.type != type || said->has_mac)
      continue;
    if (option.length != 1 || !is_station(option.mac))
      return false;
    __builtin_memcpy(said->mac, option.mac, 6);
    said->has_mac = true;
  }
  return at == size;
}

/* RFC 4861 7.1.1 and 7.1.2: what of discovery is heard at all. `said` begins as zeros. */
static __always_inline bool nd_read(struct CTXTYPE *ctx, struct pkt_metadata *md, struct nd_message *said) {
  u32 head = ND_AT + sizeof(struct nd);
  pcn_pull(ctx, head);
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct ethhdr *eth = data;
  struct ipv6hdr *ip = data + sizeof(*eth);
  struct nd *nd = data + ND_AT;
  if (data + head > data_end || ip->hop_limit != 255 || nd->code || ntohs(ip->payload_len) < sizeof(*nd))
    return false; /* another hop limit: it comes from beyond a router */
  u32 size = ntohs(ip->payload_len);
  said->solicits = nd->type == ND_SOLICIT;
  said->flags = nd->flags;
  __builtin_memcpy(said->from, &ip->saddr, 32);
  __builtin_memcpy(said->target, nd->target, 16);
  __builtin_memcpy(said->link, eth->h_source, 6);
  if (said->target[0] == 0xff || said->from[0] == 0xff || !is_station(said->link) || !nd_checks_out(ctx, said, size) ||
      !nd_read_options(ctx, said, size, said->solicits ? ND_OPTION_SOURCE : ND_OPTION_TARGET))
    return false;
  if (!said->solicits)
    return !is_nobody(said->from) && !(said->to[0] == 0xff && said->flags & ND_SOLICITED);
  if (is_unspecified(said->from)) /* it looks for duplicates of its address */
    return !said->has_mac && said->to[0] == 0xff && said->to[1] == 2 && said->to[11] == 1 && said->to[12] == 0xff;
  return !is_nobody(said->from);
}

/* The same frame, as long as an advertisement is. Who has no address yet is answered through all nodes' multicast address, and was
 * not solicited then. */
static __always_inline bool nd_advertise(struct CTXTYPE *ctx, struct pkt_metadata *md, const u8 *mac, struct nd_message *said, u8 flags) {
  struct {
    u16 zero; /* so that headers lie at multiples of four bytes */
    struct ethhdr eth;
    struct ipv6hdr ip;
    struct nd nd;
    struct nd_option option;
  } reply = {};
  u32 size = sizeof(reply.nd) + sizeof(reply.option), length = ND_AT + size;
#if PCN_XDP
  if (bpf_xdp_adjust_tail(ctx, (int)length + PADDING - (int)md->packet_len))
    return false;
#else
  if (bpf_skb_change_tail(ctx, length, 0) && md->packet_len < length)
    return false; /* what cannot be cut off is padding: see lib/craft.h */
#endif
  reply.nd.type = ND_ADVERTISE;
  reply.option.type = ND_OPTION_TARGET;
  reply.option.length = 1;
  __builtin_memcpy(reply.nd.target, said->target, 16);
  __builtin_memcpy(reply.option.mac, mac, 6);
  __builtin_memcpy(&reply.ip.saddr, said->target, 16);
  if (is_unspecified(said->from)) {
    u8 *group = (u8 *)&reply.ip.daddr;
    reply.nd.flags = flags & ~ND_SOLICITED;
    group[0] = 0xff;
    group[1] = 2;
    group[15] = 1;
    reply.eth.h_dest[0] = reply.eth.h_dest[1] = 0x33;
    reply.eth.h_dest[5] = 1;
  } else {
    reply.nd.flags = flags;
    __builtin_memcpy(&reply.ip.daddr, said->from, 16);
    __builtin_memcpy(reply.eth.h_dest, said->link, 6);
  }
  reply.nd.check = pcn_csum_fold(bpf_csum_diff(0, 0, (void *)&reply.nd, size, csum_pseudo6(&reply.ip.saddr, size, IPPROTO_ICMPV6)));
  __builtin_memcpy(reply.eth.h_source, mac, 6);
  reply.eth.h_proto = htons(ETH_P_IPV6);
  reply.ip.version = 6;
  reply.ip.payload_len = htons(size);
  reply.ip.nexthdr = IPPROTO_ICMPV6;
  reply.ip.hop_limit = 255;
  return !pcn_store_bytes(ctx, 0, &reply.eth, length);
}

struct nd_solicitation {
  u8 type, code;
  u16 check;
  u32 zero;
  u8 target[16];
  u8 source_option[2], mac[6];
#if !PCN_XDP
  u8 unknown_option[2], padding[6]; /* in which lies what lib/craft.h keeps of the packet: hosts step over it */
#endif
};
struct nd_question {
  u16 zero; /* so that headers lie at multiples of four bytes */
  struct ethhdr eth;
  struct ipv6hdr ip;
  struct nd_solicitation nd;
};

/* Asked through the group that only stations with such an address listen to, ff02::1:ffXX:XXXX. */
static __always_inline bool nd_solicit(struct CTXTYPE *ctx, struct pkt_metadata *md, const u8 *mac, const void *own, const u8 *asked) {
  struct nd_question question = {.eth.h_proto = htons(ETH_P_IPV6)};
  u32 size = sizeof(question) - offsetof(struct nd_question, eth);
  u8 *group = (u8 *)&question.ip.daddr;
  int kept = reshape(ctx, md, size, false);
  if (kept < 0)
    return false;
  question.nd.type = ND_SOLICIT;
  question.nd.source_option[0] = ND_OPTION_SOURCE;
  question.nd.source_option[1] = 1;
#if !PCN_XDP
  question.nd.unknown_option[0] = ND_OPTION_UNKNOWN;
  question.nd.unknown_option[1] = (8 + kept) / 8;
#endif
  __builtin_memcpy(question.nd.target, asked, 16);
  __builtin_memcpy(question.nd.mac, mac, 6);
  question.ip.version = 6;
  question.ip.payload_len = htons(sizeof(question.nd) + kept);
  question.ip.nexthdr = IPPROTO_ICMPV6;
  question.ip.hop_limit = 255;
  __builtin_memcpy(&question.ip.saddr, own, 16);
  group[0] = 0xff;
  group[1] = 2;
  group[11] = 1;
  group[12] = 0xff;
  __builtin_memcpy(group + 13, asked + 13, 3);
  u64 sum = csum_pseudo6(&question.ip.saddr, sizeof(question.nd) + kept, IPPROTO_ICMPV6);
  question.nd.check = pcn_csum_fold(bpf_csum_diff(0, 0, (void *)&question.nd, sizeof(question.nd), sum));
  question.eth.h_dest[0] = question.eth.h_dest[1] = 0x33;
  __builtin_memcpy(question.eth.h_dest + 2, group + 12, 4);
  __builtin_memcpy(question.eth.h_source, mac, 6);
  return !pcn_store_bytes(ctx, 0, &question.eth, size);
}
#endif
