/* The packet that an ICMP error quotes: as much of it as there is. It went the way that the error comes back, so its source is whom the
 * error is for; where one end of the error becomes another (lib/rewrite.h), the other end of the quote does.
 */
#include "lib/rewrite.h"

#define QUOTE_AT 8         /* bytes of an ICMP error before what it quotes */
#define QUOTE_EXTENSIONS 4 /* of IPv6, at most */

struct quote {
  struct rewrite_place at;
  u32 src[4], dst[4];
  u16 sport, dport; /* of an echo its identifier, both; 0 of what has none */
  u8 has_ports;
  u8 type;          /* of an ICMP message: only echoes have ports */
  u16 zero;
};

/* Steps over the extensions of a quoted IPv6 header. Loop bound: QUOTE_EXTENSIONS. */
static __always_inline bool quote_extensions(struct CTXTYPE *ctx, struct rewrite_place *at, u8 next) {
  for (int i = 0; i <= QUOTE_EXTENSIONS; i++) {
    u8 head[8];
    if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS && next != IPPROTO_FRAGMENT) {
      at->proto = next;
      return true;
    }
    if (pcn_load_bytes(ctx, at->l4, head, sizeof(head)) < 0)
      return false;
    if (next == IPPROTO_FRAGMENT) {
      at->later = (head[2] | (head[3] & 0xf8)) != 0;
      at->l4 += 8;
    } else {
      at->l4 += 8 + head[1] * 8;
    }
    next = head[0];
    if (at->later) {
      at->proto = next;
      return true;
    }
  }
  return false;
}

static __always_inline bool quote_read_ip(struct CTXTYPE *ctx, struct quote *quote) {
  struct rewrite_place *at = &quote->at;
  if (at->family == 4) {
    struct iphdr ip;
    if (pcn_load_bytes(ctx, at->l3, &ip, sizeof(ip)) < 0 || ip.version != 4 || ip.ihl < 5)
      return false;
    v4_mapped(quote->src, ip.saddr);
    v4_mapped(quote->dst, ip.daddr);
    at->l4 = at->l3 + ip.ihl * 4;
    at->proto = ip.protocol;
    at->later = (ip.frag_off & htons(0x1fff)) != 0;
    return true;
  }
  struct ipv6hdr ip;
  if (pcn_load_bytes(ctx, at->l3, &ip, sizeof(ip)) < 0 || ip.version != 6)
    return false;
  __builtin_memcpy(quote->src, &ip.saddr, 16);
  __builtin_memcpy(quote->dst, &ip.daddr, 16);
  at->l4 = at->l3 + sizeof(ip);
  return quote_extensions(ctx, at, ip.nexthdr);
}

/* What the ICMP error at `error` quotes. False: it is cut short before the ports of a protocol that has them, or no packet. */
static __always_inline bool quote_read(struct CTXTYPE *ctx, const struct rewrite_place *error, struct quote *quote) {
  u16 words[4];
  __builtin_memset(quote, 0, sizeof(*quote));
  quote->at.family = error->family;
  quote->at.l3 = error->l4 + QUOTE_AT;
  quote->at.end = error->end;
  if (!quote_read_ip(ctx, quote))
    return false;
  if (quote->at.later || !rewrite_check_at(&quote->at))
    return true;
  if (quote->at.l4 + sizeof(words) > error->end || pcn_load_bytes(ctx, quote->at.l4, words, sizeof(words)) < 0)
    return false;
  if (quote->at.proto == IPPROTO_TCP || quote->at.proto == IPPROTO_UDP) {
    quote->sport = words[0];
    quote->dport = words[1];
    quote->has_ports = 1;
    return true;
  }
  quote->type = ntohs(words[0]) >> 8;
  quote->has_ports = quote->at.family == 4 ? quote->type == 8 || quote->type == 0 : quote->type == 128 || quote->type == 129;
  quote->sport = quote->dport = quote->has_ports ? words[2] : 0;
  return true;
}

/* Ports as of session.h: an echo's identifier is the port of who asks. */
static __always_inline void quote_ports(const struct quote *quote, u16 *source, u16 *target) {
  *source = quote->sport;
  *target = quote->dport;
  if (quote->at.proto == IPPROTO_ICMP || quote->at.proto == IPPROTO_ICMPV6) {
    bool asks = quote->type == (quote->at.family == 4 ? 8 : 128);
    *source = asks ? *source : 0;
    *target = asks ? 0 : *target;
  }
}

/* A field in the quote becomes another; `sum` becomes what that adds to the sum over the message. */
static __always_inline bool quote_store(struct CTXTYPE *ctx, u32 offset, u16 old, u16 new, u64 *sum) {
  *sum += (u64)(u16)~old + new;
  return pcn_store_bytes(ctx, offset, &new, sizeof(new)) == 0;
}

/* The checksum of the quoted packet's transport, if the quote goes so far. */
static __always_inline bool quote_check(struct CTXTYPE *ctx, const struct rewrite_place *at, u64 change, u64 *sum) {
  u32 offset = at->l4 + rewrite_check_at(at);
  u16 check;
  if (offset + 2 > at->end || pcn_load_bytes(ctx, offset, &check, sizeof(check)) < 0 || (at->proto == IPPROTO_UDP && !check))
    return true;
  u16 found = pcn_csum_fold((u64)(u16)~check + change);
  return quote_store(ctx, offset, check, at->proto == IPPROTO_UDP && !found ? 0xffff : found, sum);
}

/* An end of the packet that the ICMP error at `error` quotes, and the error's own checksum. False: as of rewrite_end. */
static __always_inline bool quote_rewrite_end(struct CTXTYPE *ctx, const struct rewrite_place *error, const struct quote *quote,
                                               u32 end, const u32 *address, u32 port) {
  const struct rewrite_place *at = &quote->at;
  const u32 *known = end == REWRITE_SOURCE ? quote->src : quote->dst;
  u64 change = 0, sum = 0;
  u16 check;
#pragma unroll
  for (int i = 0; i < 4; i++)
    change += (u64)(u32)~known[i] + address[i];
  sum = change;
  if (at->family == 4) {
    if (pcn_store_bytes(ctx, at->l3 + 12 + 4 * end, &address[3], 4) || pcn_load_bytes(ctx, at->l3 + 10, &check, 2) < 0 ||
        !quote_store(ctx, at->l3 + 10, check, pcn_csum_fold((u64)(u16)~check + change), &sum))
      return false;
  } else if (pcn_store_bytes(ctx, at->l3 + 8 + 16 * end, address, 16)) {
    return false;
  }
  if (!at->later && rewrite_check_at(at)) {
    u16 old = end == REWRITE_SOURCE ? quote->sport : quote->dport;
    if (at->proto == IPPROTO_ICMP)
      change = 0; /* it covers no addresses */
    if (quote->has_ports && port != REWRITE_KEEP) {
      change += (u64)(u16)~old + (u16)port;
      if (!quote_store(ctx, at->l4 + rewrite_port_at(at, end), old, port, &sum))
        return false;
    }
    if (!quote_check(ctx, at, change, &sum))
      return false;
  }
  return pcn_l4_csum_replace(ctx, error->l4 + 2, 0, rewrite_fold(sum), 0) == 0;
}
