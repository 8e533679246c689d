/* The nat's µCube 2: ICMP errors. What they quote went the other way, and belongs to a session: its ends become what they are on the other
 * side, and so does the error's own. The error's other end is whoever sent it: from inside it gets the session's address outside, whether
 * or not it is of a host that has one (RFC 5508 REQ-4, REQ-5).
 */
#include "nat.h"
#include "nat_prefix.h"
#include "lib/quote.h"

/* The session's ends, in the order that packets of this direction have them. */
static __always_inline void quoted_ends(const struct quote *quote, struct session_tuple *key) {
  __builtin_memset(key, 0, sizeof(*key));
  __builtin_memcpy(key->near, PCN_EGRESS ? quote->dst : quote->src, 16);
  __builtin_memcpy(key->far, PCN_EGRESS ? quote->src : quote->dst, 16);
  key->proto = quote->at.proto;
  u16 src, dst;
  quote_ports(quote, &src, &dst);
  key->near_port = PCN_EGRESS ? dst : src;
  key->far_port = PCN_EGRESS ? src : dst;
}

/* By prefix, the error's end is translated like any packet's, and the quote's other end by the same rule. */
static __always_inline int by_prefix(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet, const struct quote *quote) {
  u32 mapped[4];
  struct npt *npt = find_npt(PCN_EGRESS ? packet->is.src : packet->is.dst, PCN_EGRESS);
  if (!npt)
    return -1;
  if (!npt_map(npt, PCN_EGRESS ? packet->is.src : packet->is.dst, mapped))
    return refuse(md, DROP_NO_PREFIX);
  if (!npt_store(ctx, packet->is.l3, NAT_END, mapped))
    return refuse(md, PCN_DROP_MALFORMED);
  npt = find_npt(PCN_EGRESS ? quote->dst : quote->src, PCN_EGRESS);
  if (npt && npt_map(npt, PCN_EGRESS ? quote->dst : quote->src, mapped))
    npt_store(ctx, quote->at.l3, PCN_EGRESS ? REWRITE_TARGET : REWRITE_SOURCE, mapped);
  return RX_OK;
}

/* A packet about no session: an address that may not leave stays here. */
static __always_inline int about_nothing(struct pkt_metadata *md, struct packet *packet) {
#if PCN_EGRESS
  struct prefix6 from;
  lpm_host6(&from, packet->is.src);
  struct source *source = sources.lookup(&from);
  if (source && !(source->addresses == 1 && same_address(source->first, packet->is.src)))
    return refuse(md, DROP_NO_SESSION);
#endif
  return RX_OK;
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  struct rewrite_place at;
  struct quote quote;
  struct session_tuple key;
  u32 address[4];
  if (!packet)
    return RX_DROP;
  place_of(&at, &packet->is);
  if (!quote_read(ctx, &at, &quote))
    return about_nothing(md, packet);
  if (PCN_CONST(NPT) && packet->is.family == 6) {
    int done = by_prefix(ctx, md, packet, &quote);
    if (done != -1)
      return done;
  }
  quoted_ends(&quote, &key);
#if !PCN_EGRESS
  struct session_way *way = session_ways.lookup(&key);
  if (!way)
    return RX_OK;
  __builtin_memcpy(key.near, way->near, 16);
  key.near_port = way->near_port;
#endif
  struct session *known = sessions.lookup(&key);
  if (!known || !session_is_live(known, packet->now))
    return about_nothing(md, packet);
  bool asks = quote.type == (quote.at.family == 4 ? 8 : 128), turns = known->flags & SESSION_TURNS;
  bool is_echo = quote.at.proto == IPPROTO_ICMP || quote.at.proto == IPPROTO_ICMPV6;
  u32 port = PCN_EGRESS ? known->outside_port : key.near_port;
  if (is_echo && asks == PCN_EGRESS) /* the identifier is the far end's */
    port = REWRITE_KEEP;
  __builtin_memcpy(address, PCN_EGRESS ? known->outside : key.near, 16);
  if (!quote_rewrite_end(ctx, &at, &quote, PCN_EGRESS ? REWRITE_TARGET : REWRITE_SOURCE, address, port) ||
      !rewrite_end(ctx, &at, NAT_END, address, REWRITE_KEEP))
    return refuse(md, PCN_DROP_MALFORMED);
#if PCN_EGRESS
  if (turns)
    return turn_around(ctx, md);
#endif
  return RX_OK;
}
