/* The nat's µCube 1: a packet that belongs to no session. Whether a rule is for it, and then a new session.
 *
 * From inside: to an address of ours outside it turns around; else the rule with the longest prefix around its source is for it, of which
 * masquerade is the shortest. From outside: port forwarding by protocol, port forwarding, then dnat. What no rule is for passes as it is.
 */
#include "nat.h"

static __always_inline void begin(struct packet *packet, u32 rule, u32 id, u32 kind, u32 turns) {
  struct session_times times = nat_times();
  session_begin(&packet->next, packet->is.proto, packet->is.flags, PCN_EGRESS, turns, packet->now, &times);
  packet->next.kind = kind;
  packet->next.rule = rule;
  packet->next.id = id;
}

static __always_inline bool may_begin(struct packet *packet) {
  return is_icmp(&packet->is) ? packet->echo == ECHO_REQUEST : session_may_begin(packet->is.proto, packet->is.flags);
}

/* 0, or why the packet is to be dropped. */
static __always_inline int open_session(struct packet *packet) {
  struct session_tuple way = packet->key;
  int done = session_open(&packet->inside, &way, PCN_EGRESS ? &packet->pool : NULL, &packet->next, packet->has_port, packet->now);
  return done == SESSION_FULL ? DROP_TABLE_FULL : done == SESSION_NO_PLACE ? DROP_NO_PORT : 0;
}

#if PCN_EGRESS

static __always_inline bool is_the_only(const struct source *source, const u32 *address) {
  return source->addresses == 1 && same_address(source->first, address);
}

/* To what is translated to somebody inside: it turns around, and has come from that very address outside (RFC 4787 REQ-9), so that what is
 * sent back to it comes here again. */
static __always_inline bool find_hairpin(struct packet *packet) {
  struct target_key to = {.length = 128, .port = packet->key.far_port, .proto = packet->is.proto};
  if (!PCN_CONST(HAIRPIN) || same_address(packet->is.src, packet->is.dst))
    return false;
  if (packet->is.proto == IPPROTO_TCP || packet->is.proto == IPPROTO_UDP)
    to.length = 152;
  __builtin_memcpy(to.address, packet->is.dst, 16);
  struct target *target = targets.lookup(&to);
  if (!target)
    return false;
  __builtin_memcpy(packet->pool.first, packet->is.dst, 16);
  packet->pool.addresses = 1;
  packet->pool.low = 1024;
  packet->pool.high = 65535;
  begin(packet, target->rule, target->id, KIND_HAIRPIN, SESSION_TURNS);
  return true;
}

static __always_inline int open_outwards(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet) {
  packet->inside = packet->key;
  if (!find_hairpin(packet)) {
    struct prefix6 from;
    lpm_host6(&from, packet->is.src);
    struct source *source = sources.lookup(&from);
    if (!source)
      return RX_OK;
    if (!may_begin(packet) && !packet->is.later_fragment && is_the_only(source, packet->is.src))
      return RX_OK; /* it is of nobody inside, but of who has this address himself */
    __builtin_memcpy(&packet->pool, source, sizeof(packet->pool));
    begin(packet, source->rule, source->id, source->kind, 0);
  }
  if (packet->is.later_fragment)
    return refuse(md, DROP_FRAGMENT);
  if (!may_begin(packet))
    return refuse(md, DROP_NO_SESSION);
  int done = open_session(packet);
  if (done)
    return refuse(md, done);
  struct session *there = sessions.lookup(&packet->inside);
  if (!there || !session_is_live(there, packet->now))
    return refuse(md, DROP_NO_PORT);
  return translate(ctx, md, packet, there->outside, there->outside_port, there->flags & SESSION_TURNS);
}

#else

static __always_inline int open_inwards(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet) {
  struct target_key to = {.length = packet->has_port ? 152 : 128, .port = packet->key.near_port, .proto = packet->is.proto};
  if (packet->is.later_fragment)
    return RX_OK; /* its first one passed, or is for nobody */
  __builtin_memcpy(to.address, packet->is.dst, 16);
  struct target *target = targets.lookup(&to);
  if (!target)
    return RX_OK;
  if (!may_begin(packet))
    return refuse(md, DROP_NO_SESSION);
  packet->inside = packet->key;
  __builtin_memcpy(packet->inside.near, target->address, 16);
  if (target->port)
    packet->inside.near_port = target->port;
  bool turned = PCN_CONST(HAIRPIN) && outsides.lookup((struct in6_addr *)packet->is.src);
  begin(packet, target->rule, target->id, target->kind, turned ? SESSION_TURNS : 0);
  int done = open_session(packet);
  if (done)
    return refuse(md, done);
  struct session *there = sessions.lookup(&packet->inside);
  if (!there || !session_is_live(there, packet->now) || !same_address(there->outside, packet->key.near) ||
      there->outside_port != packet->key.near_port)
    return refuse(md, DROP_NO_PORT);
  return translate(ctx, md, packet, packet->inside.near, packet->inside.near_port, false);
}

#endif

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  if (!packet)
    return RX_DROP;
#if PCN_EGRESS
  return open_outwards(ctx, md, packet);
#else
  return open_inwards(ctx, md, packet);
#endif
}
