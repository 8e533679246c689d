/* The load balancer's µCube 1: ICMP errors about its flows. What an error quotes says which flow; it is translated with the error.
 *
 * From the BACKEND side the error is sent in the service's name, whoever made it, as Linux does: a client cannot know who is behind.
 * What quotes no flow of a service passes as it is.
 */
#include "lbrp.h"
#include "lib/quote.h"

/* What a quoted packet of a flow tells of it: it went the other way than its error. */
static __always_inline void key_of_quote(const struct quote *quote, const struct parsed *is, struct flow_key *key, bool from_client) {
  __builtin_memset(key, 0, sizeof(*key));
  __builtin_memcpy(key->client, from_client ? quote->dst : quote->src, 16);
  __builtin_memcpy(key->server, from_client ? quote->src : quote->dst, 16);
  key->client_port = ntohs(from_client ? quote->dport : quote->sport);
  key->server_port = is_ported(quote->at.proto) ? ntohs(from_client ? quote->sport : quote->dport) : 0;
  key->proto = quote->at.proto;
}

/* About a reply of a service: it goes to the backend that sent it. */
static __always_inline int error_from_frontend(struct CTXTYPE *ctx, struct pkt_metadata *md, struct rewrite_place *at, struct quote *quote,
                                               struct flow_key *key, u32 out) {
  struct flow *flow = flows.lookup(key);
  if (!flow)
    return pcn_pkt_redirect(ctx, md, out);
  struct member_key to = {.service = flow->service, .backend = flow->backend};
  struct member *member = members.lookup(&to);
  if (!member)
    return refuse(md, DROP_NO_BACKEND);
  u32 port = is_ported(key->proto) ? htons(member->port) : REWRITE_KEEP;
  if (!quote_rewrite_end(ctx, at, quote, REWRITE_SOURCE, (const u32 *)member->ip, port))
    return refuse(md, PCN_DROP_MALFORMED);
  client_at_backend(key->client);
  if (!same_address(key->client, quote->dst) && !quote_rewrite_end(ctx, at, quote, REWRITE_TARGET, key->client, REWRITE_KEEP))
    return refuse(md, PCN_DROP_MALFORMED);
  if (!rewrite_end(ctx, at, REWRITE_TARGET, (const u32 *)member->ip, REWRITE_KEEP))
    return refuse(md, PCN_DROP_MALFORMED);
  return pcn_pkt_redirect(ctx, md, out);
}

/* About what a client sent: it goes to the client. */
static __always_inline int error_from_backend(struct CTXTYPE *ctx, struct pkt_metadata *md, struct rewrite_place *at, struct quote *quote,
                                              struct flow_key *key, struct lb_port *port) {
  struct reply *reply = replies.lookup(key);
  if (!reply)
    return to_client(ctx, md, port, quote->src);
  u32 client[4], vport = is_ported(key->proto) ? htons(reply->vport) : REWRITE_KEEP;
  __builtin_memcpy(client, reply->client, 16);
  if (!quote_rewrite_end(ctx, at, quote, REWRITE_TARGET, reply->vip, vport))
    return refuse(md, PCN_DROP_MALFORMED);
  if (!same_address(client, quote->src)) {
    if (!quote_rewrite_end(ctx, at, quote, REWRITE_SOURCE, client, REWRITE_KEEP) || !rewrite_end(ctx, at, REWRITE_TARGET, client, REWRITE_KEEP))
      return refuse(md, PCN_DROP_MALFORMED);
  }
  if (!rewrite_end(ctx, at, REWRITE_SOURCE, reply->vip, REWRITE_KEEP))
    return refuse(md, PCN_DROP_MALFORMED);
  return to_client(ctx, md, port, client);
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct parsed *is = packet_context();
  struct lb_port *port = port_of(md->in_port);
  struct quote quote;
  struct flow_key key;
  if (!is || !port)
    return refuse(md, PCN_DROP_NO_PEER);
  bool from_client = port->kind == PORT_FRONTEND;
  struct rewrite_place at = place_of(is);
  pull_l4(ctx, is);
  if (!quote_read(ctx, &at, &quote) || !quote.has_ports || !same_address(quote.src, is->dst))
    return from_client ? pcn_pkt_redirect(ctx, md, port->other) : to_client(ctx, md, port, is->dst);
  key_of_quote(&quote, is, &key, from_client);
  if (from_client)
    return error_from_frontend(ctx, md, &at, &quote, &key, port->other);
  return error_from_backend(ctx, md, &at, &quote, &key, port);
}
