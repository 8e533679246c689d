/* The load balancer's µCube 1: ICMP errors about what a backend answered go to that one, as the quoted packet says; and who solicits a
 * virtual address is told its MAC.
 */
#include "lbdsr.h"
#include "lib/nd.h"
#include "lib/quote.h"

static __always_inline int handle_error(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet, u32 out) {
  const struct parsed *is = &packet->is;
  struct rewrite_place at = {.l3 = is->l3, .l4 = is->l4, .end = is->payload_end, .family = is->family, .proto = is->proto};
  struct quote quote;
  struct flow_key key;
  struct service *service = find_service(is->dst);
  if (!service)
    return refuse(md, DROP_NO_SERVICE);
  if (!quote_read(ctx, &at, &quote) || !same_address(quote.src, is->dst))
    return refuse(md, PCN_DROP_MALFORMED);
  __builtin_memset(&key, 0, sizeof(key));
  __builtin_memcpy(key.client, quote.dst, 16);
  __builtin_memcpy(key.vip, quote.src, 16);
  key.proto = quote.at.proto;
  if (is_ported(key.proto)) {
    key.client_port = ntohs(quote.dport);
    key.port = ntohs(quote.sport);
  }
  packet->hash = hash_words((const u32 *)&key, sizeof(key) / 4);
  struct flow *flow = flows.lookup(&key);
  struct member *member = NULL;
  if (flow) {
    packet->to.service = flow->service;
    packet->to.backend = flow->backend;
    member = members.lookup(&packet->to);
  }
  if (!member)
    member = hashed_member(service, packet->hash, &packet->to);
  return member ? send_to(ctx, md, packet, member, out) : refuse(md, DROP_NO_BACKEND);
}

static __always_inline int handle_solicitation(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct parsed *is) {
  struct nd_message said = {};
  struct settings *own = settings_of();
  u32 target[4];
  if (is->tags || is->l4 != ND_AT || !own || !nd_read(ctx, md, &said))
    return refuse(md, PCN_DROP_MALFORMED);
  __builtin_memcpy(target, said.target, 16);
  if (!find_service(target))
    return refuse(md, DROP_NO_SERVICE);
  if (!nd_advertise(ctx, md, own->mac, &said, ND_SOLICITED | ND_OVERRIDE))
    return refuse(md, PCN_DROP_MALFORMED);
  return pcn_pkt_redirect(ctx, md, md->in_port);
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  struct lb_port *port = port_of(md->in_port);
  if (!packet || !port)
    return refuse(md, PCN_DROP_NO_PEER);
  if (packet->is.family == 6 && packet->is.icmp_type == ND_SOLICIT)
    return handle_solicitation(ctx, md, &packet->is);
  return handle_error(ctx, md, packet, port->other);
}
