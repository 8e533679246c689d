/* ICMP errors about flows of services (lib/balancer.h). What an error quotes says which flow; it is translated with the error. */
#include "lib/balancer.h"
#include "lib/quote.h"

enum translated { NOT_TRANSLATED = -1, TRANSLATED = -2 }; /* or, from 0 on, why the error is to be dropped */

/* What a quoted packet of a flow tells of it: it went the other way than its error. */
static __always_inline void key_of_quote(const struct quote *quote, struct flow_key *key, bool from_client) {
  __builtin_memset(key, 0, sizeof(*key));
  __builtin_memcpy(key->client, from_client ? quote->dst : quote->src, 16);
  __builtin_memcpy(key->server, from_client ? quote->src : quote->dst, 16);
  key->client_port = ntohs(from_client ? quote->dport : quote->sport);
  key->server_port = is_ported(quote->at.proto) ? ntohs(from_client ? quote->sport : quote->dport) : 0;
  key->proto = quote->at.proto;
}

/* About a reply of a service: it is for the backend that sent it, whose address `to` becomes. */
static __always_inline int error_to_backend(struct CTXTYPE *ctx, struct rewrite_place *at, struct quote *quote, u32 *to) {
  struct flow_key key;
  key_of_quote(quote, &key, true);
  struct flow *flow = flows.lookup(&key);
  if (!flow)
    return NOT_TRANSLATED;
  struct member_key server = {.service = flow->service, .backend = flow->backend};
  struct member *member = members.lookup(&server);
  if (!member)
    return DROP_NO_BACKEND;
  u32 port = is_ported(key.proto) ? htons(member->port) : REWRITE_KEEP;
  __builtin_memcpy(to, member->ip, 16);
  if (!quote_rewrite_end(ctx, at, quote, REWRITE_SOURCE, to, port))
    return PCN_DROP_MALFORMED;
  balancer_known_as(key.client, flow->alias);
  if (!same_address(key.client, quote->dst) && !quote_rewrite_end(ctx, at, quote, REWRITE_TARGET, key.client, REWRITE_KEEP))
    return PCN_DROP_MALFORMED;
  return rewrite_end(ctx, at, REWRITE_TARGET, to, REWRITE_KEEP) ? TRANSLATED : PCN_DROP_MALFORMED;
}

/* About what a client sent: it is for the client, whose address `to` becomes, and comes in the service's name, whoever made it, as Linux
 * has it: a client cannot know who is behind. */
static __always_inline int error_to_client(struct CTXTYPE *ctx, struct rewrite_place *at, struct quote *quote, u32 *to) {
  struct flow_key key;
  key_of_quote(quote, &key, false);
  struct reply *reply = replies.lookup(&key);
  if (!reply)
    return NOT_TRANSLATED;
  u32 vport = is_ported(key.proto) ? htons(reply->vport) : REWRITE_KEEP;
  __builtin_memcpy(to, reply->client, 16);
  if (!quote_rewrite_end(ctx, at, quote, REWRITE_TARGET, reply->vip, vport))
    return PCN_DROP_MALFORMED;
  if (!same_address(to, quote->src)) {
    if (!quote_rewrite_end(ctx, at, quote, REWRITE_SOURCE, to, REWRITE_KEEP) || !rewrite_end(ctx, at, REWRITE_TARGET, to, REWRITE_KEEP))
      return PCN_DROP_MALFORMED;
  }
  return rewrite_end(ctx, at, REWRITE_SOURCE, reply->vip, REWRITE_KEEP) ? TRANSLATED : PCN_DROP_MALFORMED;
}
