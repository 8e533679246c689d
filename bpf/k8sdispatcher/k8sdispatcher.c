/* The dispatcher of a Kubernetes node: µCube 0, where every frame arrives.
 *
 * From outside, answers to pods go to them under their own addresses, what is for a service's port of the node goes to the pods' side, and all
 * else is the host's. From the pods' side, what leaves the cluster leaves as the node. What is no IP, or stays on its link, passes.
 */
#include "k8sdispatcher.h"
#include "lib/arp.h"
#include "lib/nd.h"

/* Whether an address has a meaning on its link alone, and so no translation. (169.254.169.254 is where clouds tell nodes about themselves.) */
static __always_inline bool is_of_link(const struct parsed *is, const u32 *address) {
  const u8 *bytes = (const u8 *)address;
  if (is->family == 6)
    return bytes[0] == 0xff || is_link_local(bytes) || is_unspecified(address);
  return bytes[12] >= 224 || bytes[12] == 0;
}

static __always_inline bool is_error(const struct parsed *is) {
  if (is->later_fragment || !is_icmp(is))
    return false;
  return is->family == 6 ? is->icmp_type >= 1 && is->icmp_type <= 4
                         : is->icmp_type == 3 || is->icmp_type == 11 || is->icmp_type == 12 || is->icmp_type == 4 || is->icmp_type == 5;
}

/* What neither side needs translated: the host's from outside, and the wire's from the pods. */
static __always_inline int pass(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct dispatcher_port *port) {
  return port->kind == PORT_FRONTEND ? RX_OK : across(ctx, md, port);
}

/* ---- Discovery. The host and the router behind BACKEND have one address and one MAC: an answer is for who asked last. ---- */

static __always_inline void note_question(const u32 *asked) {
  u32 now = bpf_ktime_get_coarse_ns() / SESSION_SECOND;
  questions.update((struct address *)asked, &now);
}

static __always_inline int answer_goes(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct dispatcher_port *port, const u32 *asked) {
  u32 now = bpf_ktime_get_coarse_ns() / SESSION_SECOND, *asked_at = questions.lookup((struct address *)asked);
  if (!asked_at)
    return RX_OK;
  bool late = now - *asked_at > QUESTION_SECONDS;
  questions.delete((struct address *)asked);
  return late ? RX_OK : across(ctx, md, port);
}

static __always_inline int handle_arp(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct dispatcher_port *port) {
  pcn_pull(ctx, ARP_FRAME);
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct arp *arp = data + sizeof(struct ethhdr);
  u32 address[4], of;
  if ((void *)(arp + 1) > data_end || !is_arp(arp))
    return pass(ctx, md, port);
  bool asks = arp->operation == htons(ARP_REQUEST);
  if (port->kind == PORT_BACKEND) {
    __builtin_memcpy(&of, arp->target_ip, 4);
    v4_mapped(address, of);
    if (asks)
      note_question(address);
    return across(ctx, md, port);
  }
  __builtin_memcpy(&of, arp->sender_ip, 4);
  v4_mapped(address, of);
  return asks ? RX_OK : answer_goes(ctx, md, port, address);
}

static __always_inline int handle_nd(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct dispatcher_port *port, const struct parsed *is) {
  u32 target[4];
  bool asks = is->icmp_type == ND_SOLICIT;
  if ((asks && port->kind == PORT_FRONTEND) || pcn_load_bytes(ctx, is->l4 + 8, target, 16))
    return pass(ctx, md, port);
  if (port->kind == PORT_FRONTEND)
    return answer_goes(ctx, md, port, target);
  if (asks)
    note_question(target);
  return across(ctx, md, port);
}

/* ---- Packets ---- */

/* The packet's ends and ports. False: a later fragment, whose first one was not seen. */
static __always_inline bool find_ends(struct packet *packet) {
  struct parsed *is = &packet->is;
  struct fragment_key key = {.id = is->fragment_id, .proto = is->proto};
  __builtin_memcpy(packet->key.near, is->src, 32);
  packet->key.proto = is->proto;
  packet->key.any_far = packet->key.zero[0] = packet->key.zero[1] = 0;
  if (is->fragment)
    __builtin_memcpy(key.src, is->src, 32);
  if (is->later_fragment) {
    struct fragment *first = fragments.lookup(&key);
    if (!first || packet->now - first->seen > FRAGMENT_TIME)
      return false;
    packet->ports = first->ports;
  } else {
    session_ports_of(is, &packet->ports);
  }
  if (is->fragment && !is->later_fragment) {
    struct fragment first = {.seen = packet->now, .ports = packet->ports};
    fragments.update(&key, &first);
  }
  packet->key.near_port = packet->ports.source;
  packet->key.far_port = packet->ports.target;
  return true;
}

static __always_inline struct session *live(struct session_tuple *key, u64 now) {
  struct session *known = sessions.lookup(key);
  return known && session_is_live(known, now) ? known : NULL;
}

/* Whether it is sent back to what a session's source became; its target is then who began. */
static __always_inline bool find_answered(struct packet *packet, struct session_tuple *begun) {
  __builtin_memcpy(begun->near, packet->key.far, 16);
  __builtin_memcpy(begun->far, packet->key.near, 16);
  begun->near_port = packet->key.far_port;
  begun->far_port = packet->key.near_port;
  begun->proto = packet->key.proto;
  begun->any_far = begun->zero[0] = begun->zero[1] = 0;
  struct session_way *way = session_ways.lookup(begun);
  if (!way)
    return false;
  __builtin_memcpy(begun->near, way->near, 16);
  begun->near_port = way->near_port;
  struct session *known = live(begun, packet->now);
  if (!known)
    return false;
  struct session_times times = session_times_of();
  session_follow(known, packet->is.proto, packet->is.flags, false, packet->now, &times);
  return true;
}

/* The source becomes the session's. */
static __always_inline int masquerade(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet, const struct dispatcher_port *port) {
  struct session *known = live(&packet->key, packet->now);
  if (!known)
    return to_program(ctx, DISPATCHER_OPEN);
  struct session_times times = session_times_of();
  session_follow(known, packet->is.proto, packet->is.flags, true, packet->now, &times);
  return translate(ctx, md, packet, port, REWRITE_SOURCE, known->outside, known->outside_port, source_has_port(packet));
}

static __always_inline int from_frontend(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet, const struct dispatcher_port *port,
                                         bool whole) {
  u32 policy = whole ? policy_at(packet->is.dst, packet->ports.target, packet->is.proto) : 0;
  if (policy == POLICY_CLUSTER)
    return masquerade(ctx, md, packet, port);
  if (policy == POLICY_LOCAL)
    return across(ctx, md, port);
  struct addresses *own = addresses_of(packet->is.dst);
  if (own && same_address(own->node, packet->is.dst))
    return RX_OK;
  return is_internal(packet->is.dst) ? across(ctx, md, port) : RX_OK;
}

static __always_inline int from_backend(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet, const struct dispatcher_port *port,
                                        bool whole) {
  struct addresses *own = addresses_of(packet->is.src);
  if ((own && same_address(own->node, packet->is.src)) || is_internal(packet->is.dst) || is_unmasqueraded(packet->is.dst))
    return across(ctx, md, port);
  if (whole && policy_at(packet->is.src, packet->ports.source, packet->is.proto)) /* of an external address */
    return across(ctx, md, port);
  return whole ? masquerade(ctx, md, packet, port) : refuse(md, DROP_FRAGMENT);
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  struct dispatcher_port *port = port_of(md->in_port);
  struct session_tuple begun;
  if (!packet || !port)
    return refuse(md, PCN_DROP_NO_PEER);
  struct parsed *is = &packet->is;
  int found = parse_packet(ctx, is, md->packet_len);
  if (found == MALFORMED && port->kind == PORT_BACKEND)
    return refuse(md, PCN_DROP_MALFORMED);
  if (is->tags || found == HIDDEN_IP || found == MALFORMED)
    return pass(ctx, md, port);
  if (found != IS_IP)
    return is->ethertype == htons(ETH_P_ARP) ? handle_arp(ctx, md, port) : pass(ctx, md, port);
  if (is->family == 6 && is->proto == IPPROTO_ICMP6 && !is->later_fragment && (is->icmp_type == ND_SOLICIT || is->icmp_type == ND_ADVERTISE))
    return handle_nd(ctx, md, port, is);
  if (is_of_link(is, is->src) || is_of_link(is, is->dst))
    return pass(ctx, md, port);
  packet->now = clock_ns();
  if (is_error(is))
    return to_program(ctx, DISPATCHER_ERROR);
  bool whole = find_ends(packet);
  if (whole && find_answered(packet, &begun))
    return translate(ctx, md, packet, port, REWRITE_TARGET, begun.near, begun.near_port,
                     packet->ports.ported || packet->ports.echo == ECHO_REPLY);
  return port->kind == PORT_FRONTEND ? from_frontend(ctx, md, packet, port, whole) : from_backend(ctx, md, packet, port, whole);
}
