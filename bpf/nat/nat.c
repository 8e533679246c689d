/* Network address translation for IPv4 and IPv6: µCube 0, where every frame arrives, and packets of known sessions are translated.
 *
 * What is no IP passes, ARP among it, and so do packets that stay on their link: multicast, broadcast, link-local addresses.
 * A packet that is cut short is dropped: nobody could translate it.
 */
#include "nat.h"
#include "nat_prefix.h"

/* Whether an address has a meaning on its link alone, and so no translation. */
static __always_inline bool is_of_link(const struct parsed *is, const u32 *address) {
  const u8 *bytes = (const u8 *)address;
  if (is->family == 6)
    return bytes[0] == 0xff || is_link_local(bytes) || is_unspecified(address);
  return bytes[12] >= 224 || bytes[12] == 0 || (bytes[12] == 169 && bytes[13] == 254);
}

static __always_inline bool is_error(const struct parsed *is) {
  if (is->later_fragment)
    return false;
  if (is->proto == IPPROTO_ICMP && is->family == 4)
    return is->icmp_type == 3 || is->icmp_type == 11 || is->icmp_type == 12 || is->icmp_type == 4 || is->icmp_type == 5;
  return is->proto == IPPROTO_ICMPV6 && is->family == 6 && is->icmp_type >= 1 && is->icmp_type <= 4;
}

/* The ends and their ports. An echo's identifier is the port of who asks. False: a later fragment, whose first one was not seen. */
static __always_inline bool find_ends(struct packet *packet) {
  struct parsed *is = &packet->is;
  struct session_ports ports;
  __builtin_memcpy(packet->key.near, PCN_EGRESS ? is->src : is->dst, 16);
  __builtin_memcpy(packet->key.far, PCN_EGRESS ? is->dst : is->src, 16);
  packet->key.proto = is->proto;
  packet->key.any_far = packet->key.zero[0] = packet->key.zero[1] = 0;
  packet->key.near_port = packet->key.far_port = 0;
  packet->echo = ECHO_NONE;
  packet->has_port = packet->mapped = 0;
  if (is->later_fragment) {
    struct fragment_key key = {.id = is->fragment_id, .proto = is->proto};
    __builtin_memcpy(key.src, is->src, 32);
    struct fragment *first = fragments.lookup(&key);
    if (!first || packet->now - first->seen > FRAGMENT_TIME)
      return false;
    packet->key.near_port = first->near_port;
    packet->key.far_port = first->far_port;
    return true;
  }
  session_ports_of(is, &ports);
  packet->echo = ports.echo;
  packet->has_port = ports.ported || ports.echo == (PCN_EGRESS ? ECHO_REQUEST : ECHO_REPLY);
  packet->key.near_port = PCN_EGRESS ? ports.source : ports.target;
  packet->key.far_port = PCN_EGRESS ? ports.target : ports.source;
  return true;
}

static __always_inline struct session *live(struct session *known, struct packet *packet) {
  return known && session_is_live(known, packet->now) ? known : NULL;
}

/* NULL: it belongs to none. `inside`: what its near end is there. */
static __always_inline struct session *find_session(struct packet *packet, struct session_tuple *inside) {
  *inside = packet->key;
#if !PCN_EGRESS
  struct session_way *way = session_ways.lookup(inside);
  if (!way)
    return NULL;
  __builtin_memcpy(inside->near, way->near, 16);
  inside->near_port = way->near_port;
#endif
  return live(sessions.lookup(inside), packet);
}

/* A mapping ends when that of its sessions does which was seen last. One in which its near end never spoke keeps no mapping: a stranger could
 * do so for ever (RFC 4787 REQ-6). */
static __always_inline void follow_mapping(const struct session_tuple *inside, const struct session *known) {
  struct session_tuple key;
  session_of_any(&key, inside);
  struct session *mapping = sessions.lookup(&key);
  if (mapping)
    mapping->expires = known->expires;
}

/* IPv6 by prefix. -1: it is not for this packet. */
static __always_inline int by_prefix(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet) {
  u32 mapped[4];
  struct npt *npt = find_npt(packet->key.near, PCN_EGRESS);
  if (!npt)
    return -1;
  if (!npt_map(npt, packet->key.near, mapped))
    return refuse(md, DROP_NO_PREFIX);
  return npt_store(ctx, packet->is.l3, NAT_END, mapped) ? RX_OK : refuse(md, PCN_DROP_MALFORMED);
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  struct session_tuple inside;
  if (!packet)
    return RX_DROP;
  struct parsed *is = &packet->is;
  int found = parse_packet(ctx, is, md->packet_len);
  if (found == NOT_IP || found == HIDDEN_IP)
    return RX_OK;
  if (found != IS_IP)
    return refuse(md, PCN_DROP_MALFORMED);
  if (is_of_link(is, is->src) || is_of_link(is, is->dst))
    return RX_OK;
  packet->now = clock_ns();
  if (is_error(is))
    return to_program(ctx, NAT_ERROR);
  bool known_ends = find_ends(packet);
  if (PCN_CONST(NPT) && is->family == 6) {
    int done = by_prefix(ctx, md, packet);
    if (done != -1)
      return done;
  }
  if (!known_ends)
    return to_program(ctx, NAT_OPEN);
  struct session *known = find_session(packet, &inside);
  if (!known)
    return to_program(ctx, NAT_OPEN);
  struct session_times times = nat_times();
  bool moved = session_follow(known, is->proto, is->flags, PCN_EGRESS, packet->now, &times);
  if (PCN_CONST(MAPPING) && moved && known->flags & SESSION_NEAR_SPOKE)
    follow_mapping(&inside, known);
  if (PCN_EGRESS)
    return translate(ctx, md, packet, known->outside, known->outside_port, known->flags & SESSION_TURNS);
  return translate(ctx, md, packet, inside.near, inside.near_port, false);
}
