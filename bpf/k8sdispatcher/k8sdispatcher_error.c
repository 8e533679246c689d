/* The dispatcher's µCube 2: ICMP errors. What they quote went the other way, and belongs to a session: it is as it was there before it was
 * translated, and so is the error's own end.
 */
#include "k8sdispatcher.h"
#include "lib/quote.h"

/* About a packet whose source was translated: for who began. Fills in what the address and port become. */
static __always_inline bool about_begun(const struct quote *quote, struct session_tuple *key, u64 now) {
  struct session_way *way = session_ways.lookup(key);
  if (!way)
    return false;
  __builtin_memcpy(key->near, way->near, 16);
  key->near_port = way->near_port;
  struct session *known = sessions.lookup(key);
  return known && session_is_live(known, now);
}

/* Of no session: it passes if its ends may. */
static __always_inline int about_nothing(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet, const struct dispatcher_port *port,
                                         const struct quote *quote) {
  struct addresses *own = addresses_of(packet->is.src);
  if (port->kind == PORT_BACKEND) {
    bool may = (own && same_address(own->node, packet->is.src)) || is_internal(packet->is.dst) || is_unmasqueraded(packet->is.dst);
    return may ? across(ctx, md, port) : refuse(md, DROP_NO_SESSION);
  }
  own = addresses_of(packet->is.dst);
  if (policy_at(packet->is.dst, quote->sport, quote->at.proto) == POLICY_LOCAL)
    return across(ctx, md, port);
  return own && !same_address(own->node, packet->is.dst) && is_internal(packet->is.dst) ? across(ctx, md, port) : RX_OK;
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  struct dispatcher_port *port = port_of(md->in_port);
  struct quote quote;
  struct session_tuple key = {};
  u32 address[4], end = REWRITE_TARGET;
  u16 to_port, source, target;
  if (!packet || !port)
    return refuse(md, PCN_DROP_NO_PEER);
  struct rewrite_place at = place_of(&packet->is);
  if (!quote_read(ctx, &at, &quote) || !same_address(quote.src, packet->is.dst))
    return about_nothing(ctx, md, packet, port, &quote);
  quote_ports(&quote, &source, &target);
  __builtin_memcpy(key.near, quote.src, 32);
  key.near_port = source;
  key.far_port = target;
  key.proto = quote.at.proto;
  if (about_begun(&quote, &key, packet->now)) {
    __builtin_memcpy(address, key.near, 16);
    to_port = key.near_port;
  } else { /* about an answer, whose target was translated: from who began */
    __builtin_memcpy(key.near, quote.dst, 16);
    __builtin_memcpy(key.far, quote.src, 16);
    key.near_port = target;
    key.far_port = source;
    struct session *known = sessions.lookup(&key);
    if (!known || !session_is_live(known, packet->now))
      return about_nothing(ctx, md, packet, port, &quote);
    __builtin_memcpy(address, known->outside, 16);
    to_port = known->outside_port;
    end = REWRITE_SOURCE;
  }
  bool ported = quote.at.proto == IPPROTO_TCP || quote.at.proto == IPPROTO_UDP;
  bool has_port = ported || (end == REWRITE_TARGET ? source : target) != 0;
  if (!quote_rewrite_end(ctx, &at, &quote, end == REWRITE_TARGET ? REWRITE_SOURCE : REWRITE_TARGET, address, has_port ? to_port : REWRITE_KEEP) ||
      !rewrite_end(ctx, &at, end, address, REWRITE_KEEP))
    return refuse(md, PCN_DROP_MALFORMED);
  return across(ctx, md, port);
}
