/* A load balancer with direct server return: µCube 0, where every frame arrives.
 *
 * A packet for a virtual address goes to the backend of its flow, or gets one by its hash. It arrives there as the client sent it, and the
 * backend, which has the virtual address too, answers the client itself. So nothing comes back here.
 */
#include "lbdsr.h"
#include "lib/arp.h"
#include "lib/icmp_error.h"

#define ICMP_ECHO 8
#define ICMP6_ECHO 128
#define ICMP6_SOLICIT 135

static __always_inline bool key_of(const struct parsed *is, struct flow_key *key) {
  __builtin_memset(key, 0, sizeof(*key));
  __builtin_memcpy(key->client, is->src, 16);
  __builtin_memcpy(key->vip, is->dst, 16);
  key->proto = is->proto;
  if (is_ported(is->proto)) {
    key->client_port = is->ports >> 16;
    key->port = is->ports;
    return true;
  }
  return is_icmp(is) && is->icmp_type == (is->family == 4 ? ICMP_ECHO : ICMP6_ECHO);
}

/* Whether what is sent to a backend that drains is something new, which goes elsewhere. */
static __always_inline bool is_fresh(const struct parsed *is, const struct flow *flow, u32 now) {
  if (is->has_flags)
    return (is->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
  return (s32)(now - flow->seen) > DRAIN_SECONDS;
}

static __always_inline struct member *known_member(struct packet *packet, struct flow *flow, u32 now) {
  packet->to.service = flow->service;
  packet->to.backend = flow->backend;
  struct member *member = members.lookup(&packet->to);
  if (!member || (member->flags & MEMBER_DRAINS && is_fresh(&packet->is, flow, now)))
    return NULL;
  if (flow->seen != now) /* once a second: a hot row would bounce between CPUs */
    flow->seen = now;
  return member;
}

static __always_inline void count_flow(const struct parsed *is, bool known) {
  u32 zero = 0;
  struct counted *sum = counters.lookup(&zero);
  if (sum) {
    sum->flows++;
    sum->moved += known;
    sum->resumed += !known && is->has_flags && !(is->flags & TCP_SYN);
  }
}

static __always_inline void note_fragment(const struct packet *packet) {
  struct fragment_key key = {.id = packet->is.fragment_id, .proto = packet->is.proto};
  __builtin_memcpy(key.src, packet->is.src, 16);
  __builtin_memcpy(key.dst, packet->is.dst, 16);
  fragments.update(&key, (struct member_key *)&packet->to);
}

static __always_inline int handle_fragment(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet, u32 out) {
  struct fragment_key key = {.id = packet->is.fragment_id, .proto = packet->is.proto};
  __builtin_memcpy(key.src, packet->is.src, 16);
  __builtin_memcpy(key.dst, packet->is.dst, 16);
  struct member_key *known = fragments.lookup(&key);
  if (!known)
    return refuse(md, DROP_FRAGMENT);
  packet->to = *known;
  struct member *member = members.lookup(&packet->to);
  return member ? send_to(ctx, md, packet, member, out) : refuse(md, DROP_NO_BACKEND);
}

static __always_inline int balance(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet, u32 out) {
  struct flow_key key;
  u32 now = clock_seconds();
  if (!key_of(&packet->is, &key))
    return refuse(md, DROP_NO_SERVICE);
  packet->hash = hash_words((const u32 *)&key, sizeof(key) / 4);
  struct flow *flow = flows.lookup(&key);
  struct member *member = flow ? known_member(packet, flow, now) : NULL;
  if (!member) {
    struct service *service = find_service(packet->is.dst);
    if (!service)
      return refuse(md, DROP_NO_SERVICE);
    member = hashed_member(service, packet->hash, &packet->to);
    if (!member)
      return refuse(md, DROP_NO_BACKEND);
    struct flow row = {.service = packet->to.service, .backend = packet->to.backend, .seen = now};
    if (flows.update(&key, &row))
      return refuse(md, DROP_TABLE_FULL);
    count_flow(&packet->is, flow != NULL);
  }
  if (packet->is.fragment)
    note_fragment(packet);
  return send_to(ctx, md, packet, member, out);
}

/* Who asks for a virtual address is answered; all else that ARP says is no affair of ours. */
static __always_inline int handle_arp(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  pcn_pull(ctx, ARP_FRAME);
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct arp *arp = data + sizeof(struct ethhdr);
  struct settings *own = settings_of();
  u32 asked, target[4];
  if ((void *)(arp + 1) > data_end || !is_arp(arp) || !own)
    return refuse(md, PCN_DROP_MALFORMED);
  __builtin_memcpy(&asked, arp->target_ip, 4);
  v4_mapped(target, asked);
  if (arp->operation != htons(ARP_REQUEST) || !find_service(target))
    return refuse(md, DROP_NO_SERVICE);
  data = (void *)(long)ctx->data;
  data_end = (void *)(long)ctx->data_end;
  arp = data + sizeof(struct ethhdr);
  if ((void *)(arp + 1) > data_end)
    return refuse(md, PCN_DROP_MALFORMED);
  arp_reply(data, arp, own->mac);
  return pcn_pkt_redirect(ctx, md, md->in_port);
}

static __always_inline bool is_for_us(struct CTXTYPE *ctx) {
  struct settings *own = settings_of();
  u8 target[6];
  return own && pcn_load_bytes(ctx, 0, target, 6) == 0 && same_mac(target, own->mac);
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  struct lb_port *port = port_of(md->in_port);
  if (!packet || !port)
    return refuse(md, PCN_DROP_NO_PEER);
  if (port->kind == PORT_BACKEND)
    return refuse(md, DROP_FROM_BACKEND);
  struct parsed *is = &packet->is;
  int found = parse_packet(ctx, is, md->packet_len);
  if (found == MALFORMED)
    return refuse(md, PCN_DROP_MALFORMED);
  if (found != IS_IP)
    return is->ethertype == htons(ETH_P_ARP) && !is->tags ? handle_arp(ctx, md) : refuse(md, DROP_NO_SERVICE);
  if (is->family == 6 && is->proto == IPPROTO_ICMP6 && is->icmp_type == ICMP6_SOLICIT)
    return to_program(ctx, LBDSR_ICMP);
  if (!is_for_us(ctx))
    return refuse(md, DROP_WRONG_MAC);
  if (is->later_fragment)
    return handle_fragment(ctx, md, packet, port->other);
  if (is_icmp_error(is))
    return to_program(ctx, LBDSR_ICMP);
  return balance(ctx, md, packet, port->other);
}
