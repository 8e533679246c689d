/* The dispatcher's µCube 1: a packet whose source is to become another one, and that belongs to no session: a new one, if it can begin one.
 *
 * From the pods' side its source becomes the node's address; from outside, for a service whose policy is CLUSTER, internal-src-ip, so that what
 * its backend answers comes back to this node, wherever that one is.
 */
#include "k8sdispatcher.h"

#define INTERNAL_LOW 1024

static __always_inline bool may_begin(const struct packet *packet) {
  if (packet->is.later_fragment)
    return false;
  return is_icmp(&packet->is) ? packet->ports.echo == ECHO_REQUEST : session_may_begin(packet->is.proto, packet->is.flags);
}

/* False: no address is said for this family. */
static __always_inline bool find_pool(struct packet *packet, bool from_pod) {
  u32 zero = 0;
  struct addresses *own = addresses_of(packet->is.src);
  struct ranges *range = ranges.lookup(&zero);
  if (!own || !range)
    return false;
  __builtin_memcpy(packet->pool.first, from_pod ? own->node : own->internal, 16);
  packet->pool.addresses = 1;
  packet->pool.low = from_pod ? range->low : INTERNAL_LOW;
  packet->pool.high = from_pod ? range->high : 65535;
  return !is_unspecified(packet->pool.first);
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  struct dispatcher_port *port = port_of(md->in_port);
  if (!packet || !port)
    return refuse(md, PCN_DROP_NO_PEER);
  struct session_times times = session_times_of();
  struct session_tuple way = packet->key;
  bool from_pod = port->kind == PORT_BACKEND;
  if (!may_begin(packet))
    return refuse(md, packet->is.later_fragment ? DROP_FRAGMENT : DROP_NO_SESSION);
  if (!find_pool(packet, from_pod))
    return refuse(md, DROP_NO_ADDRESS);
  session_begin(&packet->next, packet->is.proto, packet->is.flags, true, 0, packet->now, &times);
  packet->next.kind = from_pod ? KIND_POD_TO_EXT : KIND_NODEPORT_CLUSTER;
  packet->next.rule = packet->next.id = 0;
  int done = session_open(&packet->key, &way, &packet->pool, &packet->next, source_has_port(packet), packet->now);
  if (done == SESSION_FULL)
    return refuse(md, DROP_TABLE_FULL);
  struct session *there = done == SESSION_NO_PLACE ? NULL : sessions.lookup(&packet->key);
  if (!there || !session_is_live(there, packet->now))
    return refuse(md, DROP_NO_PORT);
  return translate(ctx, md, packet, port, REWRITE_SOURCE, there->outside, there->outside_port, source_has_port(packet));
}
