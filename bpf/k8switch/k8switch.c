/* The pods' switch: µCube 0, where every frame arrives.
 *
 * What a pod, the host or somebody outside sends to a service goes to a backend; what comes back is sent in the service's name. Whatever
 * it then is goes by the longest prefix of fwd-table, with the MAC address that stands there. TTL stays: this is no hop.
 */
#include "k8switch.h"
#include "lib/arp.h"
#include "lib/balancer_flow.h"
#include "lib/nd.h"

/* What is done with a packet, beside verdicts: it is sent, and to which address is in `to`. */
enum way { NOT_SERVED = -1000, TO_BACKEND, TO_CLIENT };

/* ---- Services ---- */

/* How what answers this client goes back: as the request came. */
static __always_inline void note_outsider(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct parsed *is) {
  struct outsider row = {.port = md->in_port};
  u8 macs[12];
  if (pcn_load_bytes(ctx, 0, macs, sizeof(macs)))
    return;
  __builtin_memcpy(row.own, macs, 6);
  __builtin_memcpy(row.mac, macs + 6, 6);
  struct outsider *known = outsiders.lookup((struct address *)is->src);
  if (!known || known->port != row.port || !same_mac(known->mac, row.mac) || !same_mac(known->own, row.own))
    outsiders.update((struct address *)is->src, &row);
}

static __always_inline int to_backend(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct parsed *is, const struct switch_port *port,
                                      struct member *member, u32 alias, u32 *to) {
  u32 src[4];
  __builtin_memcpy(src, is->src, 16);
  __builtin_memcpy(to, member->ip, 16);
  balancer_known_as(src, alias);
  if (port->kind == PORT_NODEPORT)
    note_outsider(ctx, md, is);
  if (is->fragment)
    note_fragment(is, src, to);
  if (!translate(ctx, is, src, REWRITE_KEEP, to, is_ported(is->proto) ? htons(member->port) : REWRITE_KEEP))
    return refuse(md, PCN_DROP_MALFORMED);
  return TO_BACKEND;
}

/* To an address of services, but to none of them: it is the cluster's, where nobody else is, or a host's that has services on some ports. */
static __always_inline int to_no_service(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct parsed *is) {
  struct flow_key key;
  if (!is_cluster_ip(subnets_of(is->dst), is->dst))
    return NOT_SERVED;
  if (is_icmp(is) && key_of(is, &key, false) && find_service(is->dst, 0, is->proto))
    return answer_echo(ctx, md, is);
  return to_program(ctx, SWITCH_REJECT);
}

/* Every virtual address is in `services` with ICMP, so that one look-up tells apart what is for none. */
static __always_inline int to_service(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct parsed *is, const struct switch_port *port, u32 *to) {
  struct flow_key key;
  u32 now = clock_seconds(), alias = 0, reason = 0;
  if (!may_be_vip(is->dst) || !find_service(is->dst, 0, is->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMP6) || !key_of(is, &key, false))
    return to_no_service(ctx, md, is);
  struct flow *flow = flows.lookup(&key);
  struct member *member = flow ? known_member(is, flow, &key, now) : NULL;
  if (member)
    return to_backend(ctx, md, is, port, member, flow->alias, to);
  struct service *service = find_service(key.server, key.server_port, key.proto);
  if (!service || service->flags & SERVICE_ECHO)
    return to_no_service(ctx, md, is);
  if (!may_come(service, &key))
    return refuse(md, DROP_SOURCE_RANGE);
  member = begin_flow(service, &key, now, &alias, &reason);
  if (!member && reason == DROP_NO_BACKEND && service->flags & SERVICE_REJECTS)
    return to_program(ctx, SWITCH_REJECT);
  if (!member)
    return refuse(md, reason);
  struct counted *sum = counted();
  if (sum) {
    sum->flows++;
    sum->moved += flow != NULL;
    sum->resumed += !flow && is->has_flags && !(is->flags & TCP_SYN);
  }
  return to_backend(ctx, md, is, port, member, alias, to);
}

static __always_inline int from_service(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct parsed *is, u32 *to) {
  struct flow_key key;
  struct reply *reply = key_of(is, &key, true) ? replies.lookup(&key) : NULL;
  if (!reply)
    return is_virtual(subnets_of(is->dst), is->dst) ? refuse(md, DROP_NO_FLOW) : NOT_SERVED;
  u32 now = clock_seconds(), vip[4];
  if (reply->seen != now)
    reply->seen = now;
  __builtin_memcpy(vip, reply->vip, 16);
  __builtin_memcpy(to, reply->client, 16);
  if (is->fragment)
    note_fragment(is, vip, to);
  if (!translate(ctx, is, vip, is_ported(is->proto) ? htons(reply->vport) : REWRITE_KEEP, to, REWRITE_KEEP))
    return refuse(md, PCN_DROP_MALFORMED);
  return TO_CLIENT;
}

/* A later fragment has no ports: it goes where its packet's first one went. */
static __always_inline int handle_fragment(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct parsed *is, const struct switch_port *port,
                                           u32 *to) {
  struct fragment_key key = {.id = is->fragment_id, .proto = is->proto};
  __builtin_memcpy(key.src, is->src, 32);
  struct fragment *known = fragments.lookup(&key);
  if (!known) {
    struct subnets *of = subnets_of(is->dst);
    if (is_cluster_ip(of, is->dst) || is_virtual(of, is->dst) || find_service(is->dst, 0, is->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMP6))
      return refuse(md, DROP_FRAGMENT);
    return NOT_SERVED;
  }
  __builtin_memcpy(to, known->dst, 16);
  if (!translate(ctx, is, known->src, REWRITE_KEEP, to, REWRITE_KEEP))
    return refuse(md, PCN_DROP_MALFORMED);
  return port->kind == PORT_NODEPORT ? TO_BACKEND : TO_CLIENT;
}

static __always_inline int serve(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct parsed *is, const struct switch_port *port, u32 *to) {
  if (is->later_fragment)
    return handle_fragment(ctx, md, is, port, to);
  int done = to_service(ctx, md, is, port, to);
  return done == NOT_SERVED ? from_service(ctx, md, is, to) : done;
}

/* ---- What is not IP ---- */

/* The switch answers for all that is not behind the port of who asks. Nobody is told that an address of his own is in use (a probe). */
static __always_inline int handle_arp(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct switch_port *port) {
  pcn_pull(ctx, ARP_FRAME);
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct ethhdr *eth = data;
  struct arp *arp = data + sizeof(*eth);
  if ((void *)(arp + 1) > data_end || !is_arp(arp))
    return refuse(md, PCN_DROP_MALFORMED);
  u32 asked[4], own, sender;
  __builtin_memcpy(&own, arp->target_ip, 4);
  __builtin_memcpy(&sender, arp->sender_ip, 4);
  v4_mapped(asked, own);
  if (port->kind == PORT_NODEPORT || arp->operation != htons(ARP_REQUEST) || !sender || sender == own)
    return refuse(md, DROP_NO_ENTRY);
  struct subnets *of = subnets_of(asked);
  struct fwd *to = is_cluster_ip(of, asked) || is_virtual(of, asked) ? NULL : find_fwd(asked);
  if (to ? to->port == md->in_port : !is_cluster_ip(of, asked) && !is_virtual(of, asked))
    return refuse(md, DROP_NO_ENTRY);
  arp_reply(eth, arp, port->mac);
  return pcn_pkt_redirect(ctx, md, md->in_port);
}

static __always_inline bool is_spoofed(struct pkt_metadata *md, const struct parsed *is, const struct switch_port *port) {
  if (!PCN_CONST(CHECK_SOURCE) || port->kind == PORT_NODEPORT)
    return false;
  struct fwd *from = find_fwd(is->src);
  return !from || from->port != md->in_port;
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct parsed *is = packet_context();
  struct switch_port *port = port_of(md->in_port);
  if (!is || !port)
    return refuse(md, PCN_DROP_NO_PEER);
  int found = parse_packet(ctx, is, md->packet_len), done = NOT_SERVED;
  u32 to[4];
  if (found == MALFORMED)
    return refuse(md, PCN_DROP_MALFORMED);
  if (is->tags)
    return refuse(md, DROP_NO_ENTRY);
  if (found != IS_IP)
    return is->ethertype == htons(ETH_P_ARP) ? handle_arp(ctx, md, port) : refuse(md, DROP_NO_ENTRY);
  if (is->family == 6 && is->proto == IPPROTO_ICMP6 && !is->later_fragment && (is->icmp_type == ND_SOLICIT || is->icmp_type == ND_ADVERTISE))
    return to_program(ctx, SWITCH_ND);
  if (is_spoofed(md, is, port))
    return refuse(md, DROP_SPOOFED);
  if (PCN_CONST(SERVES) && is_icmp_error(is))
    return to_program(ctx, SWITCH_ICMP);
  if (PCN_CONST(SERVES))
    done = serve(ctx, md, is, port, to);
  if (done == NOT_SERVED)
    __builtin_memcpy(to, is->dst, 16);
  else if (done != TO_BACKEND && done != TO_CLIENT)
    return done;
  return leave(ctx, md, port, to, done != NOT_SERVED, done == TO_CLIENT);
}
