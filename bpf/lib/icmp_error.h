/* The packet at hand becomes the answer to itself: an ICMP (RFC 792) or ICMPv6 (RFC 4443) error, or a TCP reset (RFC 9293).
 *
 *     may_get_error4(ctx, ip), may_get_error6(ctx, ip)  whether its sender may be told of an error at all, by its headers
 *     struct icmp_error say = {.type = …, .code = …};   with .mtu where the error tells one
 *     icmp_error4(ctx, md, &say, from, to, mac)         an error between these addresses, from this MAC or (NULL) the one it was sent to
 *     icmp_error6(ctx, md, &say, from, to, mac)
 *     may_get_reset(&is)                                whether a reset can be made of a segment; it is never answered with one itself
 *     tcp_reset(ctx, &is)                               of a TCP segment that parse_packet took apart, tagged or not
 *
 * True: it is made, and the caller sends it back; false: it cannot be, and the packet may be damaged. An error quotes ERROR_QUOTE bytes;
 * its frame is untagged, and the packet's must be too. How often something is answered is the caller's (lib/ratelimit.h). Each of the
 * two errors uses some 250 bytes of stack. `from` and `to` must not point into the packet, which moves.
 */
#ifndef PCN_LIB_ICMP_ERROR_H
#define PCN_LIB_ICMP_ERROR_H
#include "lib/addr.h"
#include "lib/craft.h"
#include "lib/csum.h"
#include "lib/parse.h"
#include "lib/segment.h"

#define ERROR_QUOTE 128 /* bytes of the packet that are sent back, as RFC 4884 has it; RFC 792 asks for the header and 8 more */
#define ERROR_HOPS 64

struct icmp_error {
  u8 type, code;
  u16 check;
  u32 mtu; /* host order; 0 where an error tells none */
};
/* Headers lie at multiples of four bytes. */
struct error_head4 {
  u16 zero;
  struct ethhdr eth;
  struct iphdr ip;
  struct icmp_error icmp;
};
struct error_head6 {
  u16 zero;
  struct ethhdr eth;
  struct ipv6hdr ip;
  struct icmp_error icmp;
};
struct error_quote { /* what is needed of the packet once it is gone */
  u64 size;
  u32 words[ERROR_QUOTE / 4];
};

/* RFC 1812 4.3.2.7: none about errors, later fragments, or what was sent by no single station. */
static __always_inline bool may_get_error4(struct CTXTYPE *ctx, const struct iphdr *ip) {
  u32 at = sizeof(struct ethhdr) + ip->ihl * 4;
  u8 type = 0;
  if (ip->frag_off & htons(0x1fff) || !is_host4(ip->saddr))
    return false;
  if (ip->protocol != IPPROTO_ICMP)
    return true;
  return !pcn_load_bytes(ctx, at, &type, 1) && (type == 0 || type == 8 || type == 13 || type == 14);
}

/* RFC 4443 2.4 (e). */
static __always_inline bool may_get_error6(struct CTXTYPE *ctx, const struct ipv6hdr *ip) {
  u8 type = 0;
  if (*(u8 *)&ip->saddr == 0xff || is_unspecified(&ip->saddr))
    return false;
  return ip->nexthdr != IPPROTO_ICMPV6 || (!pcn_load_bytes(ctx, sizeof(struct ethhdr) + sizeof(*ip), &type, 1) && type >= 128);
}

/* The frame's way back, and the start of what it carries. */
static __always_inline bool read_quote(struct CTXTYPE *ctx, struct pkt_metadata *md, struct ethhdr *eth, const u8 *mac,
                                       struct error_quote *quote) {
  u64 size = md->packet_len - sizeof(*eth);
  size = size < ERROR_QUOTE ? size : ERROR_QUOTE;
  quote->size = size;
  if (!pcn_bound(&size, ERROR_QUOTE) || pcn_load_bytes(ctx, sizeof(*eth), quote->words, size) ||
      pcn_load_bytes(ctx, offsetof(struct ethhdr, h_source), eth->h_dest, 6))
    return false;
  if (mac)
    __builtin_memcpy(eth->h_source, mac, 6);
  return mac || !pcn_load_bytes(ctx, 0, eth->h_source, 6);
}

static __always_inline bool write_error(struct CTXTYPE *ctx, void *head, u32 size, const struct error_quote *quote) {
  u64 quoted = quote->size;
  return pcn_bound(&quoted, ERROR_QUOTE) && !pcn_store_bytes(ctx, size, quote->words, quoted) && !pcn_store_bytes(ctx, 0, head, size);
}

static __always_inline void fill_error(struct icmp_error *icmp, const struct icmp_error *say, const struct error_quote *quote, u64 sum) {
  icmp->type = say->type;
  icmp->code = say->code;
  icmp->mtu = htonl(say->mtu);
  sum = bpf_csum_diff(0, 0, (void *)icmp, sizeof(*icmp), sum);
  icmp->check = pcn_csum_fold(bpf_csum_diff(0, 0, (void *)quote->words, ERROR_QUOTE, sum));
}

/* `from` and `to`, who is told, are in network order. */
static __always_inline bool icmp_error4(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct icmp_error *say, u32 from, u32 to,
                                        const u8 *mac) {
  struct error_quote quote = {};
  struct error_head4 head = {.eth.h_proto = htons(ETH_P_IP)};
  u32 size = sizeof(head) - offsetof(struct error_head4, eth);
  int kept = read_quote(ctx, md, &head.eth, mac, &quote) ? reshape(ctx, md, size + quote.size, true) : -1;
  if (kept < 0)
    return false;
  head.ip.version = 4;
  head.ip.ihl = 5;
  head.ip.tos = 0xc0; /* network control */
  head.ip.tot_len = htons(sizeof(head.ip) + sizeof(head.icmp) + quote.size + kept);
  head.ip.ttl = ERROR_HOPS;
  head.ip.protocol = IPPROTO_ICMP;
  head.ip.saddr = from;
  head.ip.daddr = to;
  head.ip.check = pcn_csum_fold(bpf_csum_diff(0, 0, (void *)&head.ip, sizeof(head.ip), 0));
  fill_error(&head.icmp, say, &quote, 0);
  return write_error(ctx, &head.eth, size, &quote);
}

static __always_inline bool icmp_error6(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct icmp_error *say, const void *from,
                                        const void *to, const u8 *mac) {
  struct error_quote quote = {};
  struct error_head6 head = {.eth.h_proto = htons(ETH_P_IPV6)};
  u32 size = sizeof(head) - offsetof(struct error_head6, eth);
  int kept = read_quote(ctx, md, &head.eth, mac, &quote) ? reshape(ctx, md, size + quote.size, true) : -1;
  if (kept < 0)
    return false;
  u32 carried = sizeof(head.icmp) + quote.size + kept;
  head.ip.version = 6;
  head.ip.payload_len = htons(carried);
  head.ip.nexthdr = IPPROTO_ICMPV6;
  head.ip.hop_limit = ERROR_HOPS;
  __builtin_memcpy(&head.ip.saddr, from, 16);
  __builtin_memcpy(&head.ip.daddr, to, 16);
  fill_error(&head.icmp, say, &quote, csum_pseudo6(&head.ip.saddr, carried, IPPROTO_ICMPV6));
  return write_error(ctx, &head.eth, size, &quote);
}

/* ---- Resets ---- */

/* Whether a reset can be made of it: it is no fragment, whose rest is not there, and has no options or extension headers, which would be
 * sent back. */
static __always_inline bool may_get_reset(const struct parsed *is) {
  u32 head = is->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
  return !(is->flags & TCP_RST) && !is->fragment && is->l4 - is->l3 == head;
}

/* RFC 9293 3.5.2. What the segment carried stays behind the reset, which nobody reads. A reset is answered with none. */
static __always_inline bool tcp_reset(struct CTXTYPE *ctx, const struct parsed *is) {
  u32 at = is->l4, check = at + offsetof(struct segment, check);
  struct segment old, new;
  if (!may_get_reset(is) || pcn_load_bytes(ctx, at, &old, sizeof(old)) < 0)
    return false;
  new = old;
  new.sport = old.dport;
  new.dport = old.sport;
  u32 carried = is->payload_end - at - (old.offset >> 4) * 4;
  if (old.flags & TCP_ACK) {
    new.seq = old.ack;
    new.ack = 0;
    new.flags = TCP_RST;
  } else {
    new.seq = 0;
    new.ack = htonl(ntohl(old.seq) + carried + !!(old.flags & TCP_SYN) + !!(old.flags & TCP_FIN));
    new.flags = TCP_RST | TCP_ACK;
  }
  if (pcn_store_bytes(ctx, at, &new, offsetof(struct segment, window)) < 0)
    return false;
  pcn_l4_csum_replace(ctx, check, old.seq, new.seq, 4);
  pcn_l4_csum_replace(ctx, check, old.ack, new.ack, 4);
  pcn_l4_csum_replace(ctx, check, htons(old.offset << 8 | old.flags), htons(new.offset << 8 | new.flags), 2);
  swap_addresses(ctx, is);
  swap_macs(ctx);
  return renew_header(ctx, is);
}
#endif
