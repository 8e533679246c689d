/* The nat's µCube 1: a packet that belongs to no session. Whether a rule is for it, and then a new session.
 *
 * From inside: to an address of ours outside it turns around; else the rule with the longest prefix around its source is for it, of which
 * masquerade is the shortest. From outside: port forwarding by protocol, port forwarding, then dnat, then mappings, if anybody may use them.
 * What no rule is for passes as it is.
 *
 * With endpoint-independent mapping, what leaves gets the tuple of its near end's mapping. Where there is none yet, one is made, and the packet
 * comes here once more: two sessions are opened by code that is there once. With hairpin, what is for another one's mapping turns around, from
 * the sender's own (RFC 4787 REQ-9).
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
  int done = session_open(&packet->inside, &packet->way, PCN_EGRESS ? &packet->pool : NULL, &packet->next, packet->has_port, packet->now);
  return done == SESSION_FULL ? DROP_TABLE_FULL : done == SESSION_NO_PLACE ? DROP_NO_PORT : 0;
}

/* Whether an address and port outside are a mapping's here, so that what comes from there turned around, and what is for it is to. `of`: any
 * packet of it, for its protocol. */
static __always_inline bool is_mapped(const struct session_tuple *of, const u32 *address, u16 port) {
  struct session_tuple key;
  if (!PCN_CONST(HAIRPIN) || !PCN_CONST(MAPPING) || !port)
    return false;
  session_of_any(&key, of);
  __builtin_memcpy(key.near, address, 16);
  key.near_port = port;
  return session_ways.lookup(&key);
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

/* By the near end's mapping, if there is one: its tuple is that of `way`, and no pool is asked. One whose time is over is taken up again while
 * nobody else has its tuple. Else it is the mapping that is opened, and the packet comes here once more. */
static __always_inline void by_mapping(struct packet *packet) {
  struct session_tuple key;
  session_of_any(&key, &packet->inside);
  struct session *known = sessions.lookup(&key);
  if (known && known->rule == packet->next.rule) {
    __builtin_memcpy(packet->way.near, known->outside, 16);
    packet->way.near_port = known->outside_port;
    packet->pool.addresses = 0;
    known->expires = packet->next.expires;
    return;
  }
  if (known)
    session_close(&key, known); /* of another rule */
  packet->inside = packet->way = key;
  packet->mapped++;
}

static __always_inline int open_outwards(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet) {
  packet->inside = packet->way = packet->key;
  if (!find_hairpin(packet)) {
    struct prefix6 from;
    lpm_host6(&from, packet->is.src);
    struct source *source = sources.lookup(&from);
    if (!source)
      return RX_OK;
    if (!may_begin(packet) && !packet->is.later_fragment && is_the_only(source, packet->is.src))
      return RX_OK; /* it is of nobody inside, but of who has this address himself */
    __builtin_memcpy(&packet->pool, source, sizeof(packet->pool));
    bool turns = is_mapped(&packet->key, packet->is.dst, packet->key.far_port);
    begin(packet, source->rule, source->id, source->kind, turns ? SESSION_TURNS : 0);
  }
  if (packet->is.later_fragment)
    return refuse(md, DROP_FRAGMENT);
  if (!may_begin(packet))
    return refuse(md, DROP_NO_SESSION);
  if (PCN_CONST(MAPPING) && packet->has_port && packet->next.kind != KIND_HAIRPIN)
    by_mapping(packet);
  if (packet->mapped > 1)
    return refuse(md, DROP_NO_PORT); /* it was made and lost again */
  int done = open_session(packet);
  if (done)
    return refuse(md, done);
  if (packet->inside.any_far)
    return to_program(ctx, NAT_OPEN);
  struct session *there = sessions.lookup(&packet->inside);
  if (!there || !session_is_live(there, packet->now))
    return refuse(md, DROP_NO_PORT);
  return translate(ctx, md, packet, there->outside, there->outside_port, there->flags & SESSION_TURNS);
}

#else

/* Whose mapping it was sent to; false: nobody's, or it may not use it. */
static __always_inline bool find_mapped(struct packet *packet) {
  struct session_tuple key;
  if (!PCN_CONST(FILTERING) || !packet->has_port || !may_begin(packet))
    return false;
  session_of_any(&key, &packet->key);
  struct session_way *way = session_ways.lookup(&key);
  if (!way)
    return false;
  __builtin_memcpy(packet->inside.near, way->near, 16);
  packet->inside.near_port = way->near_port;
  session_of_any(&key, &packet->inside);
  struct session *mapping = sessions.lookup(&key);
  if (!mapping || !session_is_live(mapping, packet->now))
    return false;
  bool turned = is_mapped(&packet->key, packet->is.src, packet->key.far_port);
  begin(packet, mapping->rule, mapping->id, mapping->kind, turned ? SESSION_TURNS : 0);
  return true;
}

/* Whom a rule leads it to. */
static __always_inline bool find_target(struct packet *packet) {
  struct target_key to = {.length = packet->has_port ? 152 : 128, .port = packet->key.near_port, .proto = packet->is.proto};
  __builtin_memcpy(to.address, packet->is.dst, 16);
  struct target *target = targets.lookup(&to);
  if (!target)
    return false;
  __builtin_memcpy(packet->inside.near, target->address, 16);
  if (target->port)
    packet->inside.near_port = target->port;
  bool turned = PCN_CONST(HAIRPIN) && outsides.lookup((struct in6_addr *)packet->is.src);
  begin(packet, target->rule, target->id, target->kind, turned ? SESSION_TURNS : 0);
  return true;
}

static __always_inline int open_inwards(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet) {
  if (packet->is.later_fragment)
    return RX_OK; /* its first one passed, or is for nobody */
  packet->inside = packet->way = packet->key;
  if (!find_target(packet) && !find_mapped(packet)) /* what has turned around is not let out again */
    return is_mapped(&packet->key, packet->is.src, packet->key.far_port) ? refuse(md, DROP_NO_SESSION) : RX_OK;
  if (!may_begin(packet))
    return refuse(md, DROP_NO_SESSION);
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
