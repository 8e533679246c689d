/* A load balancer that translates addresses: µCube 0, where every frame arrives.
 *
 * What comes in at a FRONTEND port for a service goes to the backend of its flow, or gets one by its hash; what comes back is sent in
 * the service's name. All else passes from one side to the other as it is. MAC addresses and TTL stay: this is no hop.
 */
#include "lbrp.h"
#include "lib/arp.h"
#include "lib/balancer_flow.h"
#include "lib/nd.h"

static __always_inline int to_member(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct parsed *is, struct member *member, u32 alias, u32 out) {
  u32 src[4];
  __builtin_memcpy(src, is->src, 16);
  balancer_known_as(src, alias);
  if (is->fragment)
    note_fragment(is, src, (const u32 *)member->ip);
  if (!translate(ctx, is, src, REWRITE_KEEP, (const u32 *)member->ip, is_ported(is->proto) ? htons(member->port) : REWRITE_KEEP))
    return refuse(md, PCN_DROP_MALFORMED);
  return pcn_pkt_redirect(ctx, md, out);
}

/* A later fragment has no ports: it goes where its packet's first one went. Every virtual address is in `services` with ICMP. */
static __always_inline int handle_fragment(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct parsed *is, struct lb_port *port) {
  struct fragment_key key = {.id = is->fragment_id, .proto = is->proto};
  __builtin_memcpy(key.src, is->src, 16);
  __builtin_memcpy(key.dst, is->dst, 16);
  struct fragment *known = fragments.lookup(&key);
  if (known && !translate(ctx, is, known->src, REWRITE_KEEP, known->dst, REWRITE_KEEP))
    return refuse(md, PCN_DROP_MALFORMED);
  if (port->kind == PORT_BACKEND)
    return to_client(ctx, md, port, known ? known->dst : is->dst);
  if (!known && find_service(is->dst, 0, is->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMP6))
    return refuse(md, DROP_FRAGMENT);
  return pcn_pkt_redirect(ctx, md, port->other);
}

static __always_inline int from_frontend(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct parsed *is, struct lb_port *port) {
  struct flow_key key;
  u32 now = clock_seconds(), alias = 0, reason = 0;
  if (!may_be_vip(is->dst) || !key_of(is, &key, false))
    return pcn_pkt_redirect(ctx, md, port->other);
  struct flow *flow = flows.lookup(&key);
  struct member *member = flow ? known_member(is, flow, &key, now) : NULL;
  if (member)
    return to_member(ctx, md, is, member, flow->alias, port->other);
  struct service *service = find_service(key.server, key.server_port, key.proto);
  if (!service)
    return pcn_pkt_redirect(ctx, md, port->other);
  if (service->flags & SERVICE_ECHO)
    return answer_echo(ctx, md, is);
  if (!may_come(service, &key))
    return refuse(md, DROP_SOURCE_RANGE);
  member = begin_flow(service, &key, now, &alias, &reason);
  if (!member && reason == DROP_NO_BACKEND && service->flags & SERVICE_REJECTS)
    return to_program(ctx, LBRP_REJECT);
  if (!member)
    return refuse(md, reason);
  struct counted *sum = counted();
  if (sum) {
    sum->flows++;
    sum->moved += flow != NULL;
    sum->resumed += !flow && is->has_flags && !(is->flags & TCP_SYN);
  }
  return to_member(ctx, md, is, member, alias, port->other);
}

static __always_inline int from_backend(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct parsed *is, struct lb_port *port) {
  struct flow_key key;
  struct reply *reply = key_of(is, &key, true) ? replies.lookup(&key) : NULL;
  if (!reply) {
    struct rewriting *rule = rewriting();
    if (rule && is_in(is->dst, rule->to, rule->mask))
      return refuse(md, DROP_NO_FLOW);
    return to_client(ctx, md, port, is->dst);
  }
  u32 now = clock_seconds(), vip[4], client[4];
  if (reply->seen != now)
    reply->seen = now;
  __builtin_memcpy(vip, reply->vip, 16);
  __builtin_memcpy(client, reply->client, 16);
  if (is->fragment)
    note_fragment(is, vip, client);
  if (!translate(ctx, is, vip, is_ported(is->proto) ? htons(reply->vport) : REWRITE_KEEP, client, REWRITE_KEEP))
    return refuse(md, PCN_DROP_MALFORMED);
  return to_client(ctx, md, port, client);
}

/* ---- What is not IP, and discovery ---- */

/* Under src-ip-rewrite a backend asks for a client's other address. The question goes on for its own one, and the client's answer to it
 * comes back as the other's. */
static __always_inline int handle_arp(struct CTXTYPE *ctx, struct pkt_metadata *md, struct lb_port *port) {
  pcn_pull(ctx, ARP_FRAME);
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct arp *arp = data + sizeof(struct ethhdr);
  if ((void *)(arp + 1) > data_end)
    return refuse(md, PCN_DROP_MALFORMED);
  struct rewriting *rule = rewriting();
  u32 address[4], one = 1;
  struct arp_key key = {};
  bool asks = port->kind == PORT_BACKEND;
  __builtin_memcpy(&key.asker, asks ? arp->sender_ip : arp->target_ip, 4);
  __builtin_memcpy(&key.client, asks ? arp->target_ip : arp->sender_ip, 4);
  v4_mapped(address, key.client);
  if (asks) {
    if (rule && arp->operation == htons(ARP_REQUEST) && is_in(address, rule->to, rule->mask)) {
      moved_to(address, rule->from, rule->mask);
      key.client = address[3];
      arp_questions.update(&key, &one);
      __builtin_memcpy(arp->target_ip, &address[3], 4);
    }
    return to_client(ctx, md, port, address);
  }
  if (rule && arp->operation == htons(ARP_REPLY) && arp_questions.lookup(&key)) {
    arp_questions.delete(&key);
    moved_to(address, rule->to, rule->mask);
    __builtin_memcpy(arp->sender_ip, &address[3], 4);
  }
  return pcn_pkt_redirect(ctx, md, port->other);
}

/* MULTI: a solicitation is for a group of stations; it goes to the one that it asks for. */
static __always_inline int pass_discovery(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct parsed *is, struct lb_port *port) {
  u32 target[4];
  if (pcn_load_bytes(ctx, is->l4 + 8, target, 16))
    return refuse(md, PCN_DROP_MALFORMED);
  return to_client(ctx, md, port, target);
}

static __always_inline int handle_other(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct parsed *is, struct lb_port *port) {
  if (is->ethertype == htons(ETH_P_ARP) && !is->tags)
    return handle_arp(ctx, md, port);
  if (port->kind == PORT_BACKEND && PCN_CONST(MULTI))
    return refuse(md, DROP_UNKNOWN_CLIENT);
  return pcn_pkt_redirect(ctx, md, port->other);
}

/* MULTI: a client speaks for itself only. */
static __always_inline bool is_spoofed(const struct parsed *is, const struct lb_port *port) {
  if (!PCN_CONST(CHECK_SOURCE) || !PCN_CONST(MULTI) || port->kind != PORT_FRONTEND)
    return false;
  if (is->family == 4)
    return !(port->flags & PORT_IPV4) || port->ipv4 != is->src[3];
  return !(port->flags & PORT_IPV6) || !same_address(port->ipv6, is->src);
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct parsed *is = packet_context();
  struct lb_port *port = port_of(md->in_port);
  if (!is || !port)
    return refuse(md, PCN_DROP_NO_PEER);
  int found = parse_packet(ctx, is, md->packet_len);
  if (found == MALFORMED)
    return refuse(md, PCN_DROP_MALFORMED);
  if (found != IS_IP)
    return handle_other(ctx, md, is, port);
  if (is_spoofed(is, port))
    return refuse(md, DROP_SPOOFED);
  if (is->later_fragment)
    return handle_fragment(ctx, md, is, port);
  if (is_icmp_error(is))
    return to_program(ctx, LBRP_ICMP);
  if (port->kind == PORT_FRONTEND)
    return from_frontend(ctx, md, is, port);
  if (PCN_CONST(MULTI) && is->family == 6 && is->proto == IPPROTO_ICMP6 && is->icmp_type == ND_SOLICIT)
    return pass_discovery(ctx, md, is, port);
  return from_backend(ctx, md, is, port);
}
