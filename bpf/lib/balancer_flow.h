/* Finding and beginning flows of services (lib/balancer.h), and what is done with their packets. */
#include "lib/balancer.h"
#include "lib/csum.h"
#include "lib/icmp_error.h"

#define BALANCER_EEXIST (-17)
#define ICMP_ECHO 8
#define ICMP_ECHO_REPLY 0
#define ICMP6_ECHO 128
#define ICMP6_ECHO_REPLY 129

/* The tuple of a packet that can belong to a service; false for any other. `replies`: it comes from a backend. */
static __always_inline bool key_of(const struct parsed *is, struct flow_key *key, bool replies) {
  u16 sport = is->ports >> 16, dport = is->ports;
  __builtin_memset(key, 0, sizeof(*key));
  __builtin_memcpy(key->client, replies ? is->dst : is->src, 16);
  __builtin_memcpy(key->server, replies ? is->src : is->dst, 16);
  key->proto = is->proto;
  if (is->proto == IPPROTO_TCP || is->proto == IPPROTO_UDP) {
    key->client_port = replies ? dport : sport;
    key->server_port = replies ? sport : dport;
    return true;
  }
  key->client_port = is->icmp_id;
  if (!is_icmp(is))
    return false;
  if (is->family == 6)
    return is->icmp_type == (replies ? ICMP6_ECHO_REPLY : ICMP6_ECHO);
  return is->icmp_type == (replies ? ICMP_ECHO_REPLY : ICMP_ECHO);
}

/* ---- Flows ---- */

static __always_inline void reply_key(struct flow_key *key, const struct flow_key *flow, const struct member *member, u32 alias) {
  *key = *flow;
  balancer_known_as(key->client, alias);
  __builtin_memcpy(key->server, member->ip, 16);
  key->server_port = is_ported(flow->proto) ? member->port : 0;
}

/* The way back of a flow. 0, or why there is none: it is another flow's, or there is no room. */
static __always_inline int note_reply(const struct flow_key *flow, const struct member *member, u32 alias, u32 now) {
  struct flow_key key;
  reply_key(&key, flow, member, alias);
  struct reply *known = replies.lookup(&key), row = {.vport = flow->server_port, .seen = now};
  __builtin_memcpy(row.vip, flow->server, 16);
  __builtin_memcpy(row.client, flow->client, 16);
  if (!known) {
    int failed = replies.insert(&key, &row); /* of two CPUs one has the tuple */
    known = failed == BALANCER_EEXIST ? replies.lookup(&key) : NULL;
    if (!known)
      return failed ? DROP_TABLE_FULL : 0;
  }
  if (same_address(known->vip, flow->server) && known->vport == flow->server_port && same_address(known->client, flow->client)) {
    known->seen = now;
    return 0;
  }
  if ((s32)(now - known->seen) < CLASH_SECONDS)
    return DROP_CLASH;
  return replies.update(&key, &row) ? DROP_TABLE_FULL : 0;
}

static __always_inline bool may_come(const struct service *service, const struct flow_key *flow) {
  struct client_range key = {.length = 32 + 128, .service = service->number};
  if (!(service->flags & SERVICE_RANGES))
    return true;
  __builtin_memcpy(key.address, flow->client, 16);
  return client_ranges.lookup(&key);
}

/* The backend of a client's last new flow, if it may have this one too. */
static __always_inline struct member *find_affine(const struct service *service, const struct flow_key *flow, struct member_key *to, u32 now) {
  struct affinity_key key = {.service = service->number};
  __builtin_memcpy(key.client, flow->client, 16);
  struct affinity *known = affinities.lookup(&key);
  if (!known || now - known->seen > service->affinity)
    return NULL;
  to->backend = known->backend;
  struct member *member = members.lookup(to);
  return member && !(member->flags & MEMBER_DRAINS) ? member : NULL;
}

static __always_inline void note_affinity(const struct service *service, const struct flow_key *flow, u32 backend, u32 now) {
  struct affinity_key key = {.service = service->number};
  struct affinity row = {.backend = backend, .seen = now};
  __builtin_memcpy(key.client, flow->client, 16);
  affinities.update(&key, &row);
}

/* A backend for a new flow, noted in all tables; NULL: none, and why is in `reason`. A slot whose backend already has the client's port
 * for another service is passed over. Loop bound: TRIES. */
static __always_inline struct member *begin_flow(const struct service *service, const struct flow_key *flow, u32 now, u32 *alias,
                                                 u32 *reason) {
  struct member_key to = {.service = service->number};
  struct member *member = NULL;
  u32 hash = hash_words((const u32 *)flow, sizeof(*flow) / 4);
  *reason = DROP_NO_BACKEND;
  if (service->affinity && (member = find_affine(service, flow, &to, now))) {
    *alias = balancer_alias(flow->client, (const u32 *)member->ip, hash);
    *reason = note_reply(flow, member, *alias, now);
    if (*reason)
      member = NULL;
  }
#pragma clang loop unroll(disable)
  for (int try = 0; try < TRIES && !member; try++) {
    u32 *slot = ring_slot(service->number, service->size, hash);
    hash = hash * 5 + 0xe6546b64;
    if (!slot)
      break;
    to.backend = *slot;
    member = members.lookup(&to);
    if (!member)
      continue;
    *alias = balancer_alias(flow->client, (const u32 *)member->ip, hash);
    *reason = note_reply(flow, member, *alias, now);
    if (*reason)
      member = NULL;
  }
  if (!member)
    return NULL;
  struct flow row = {.service = to.service, .backend = to.backend, .seen = now, .alias = *alias};
  if (flows.update(flow, &row)) {
    *reason = DROP_TABLE_FULL;
    return NULL;
  }
  if (service->affinity)
    note_affinity(service, flow, to.backend, now);
  return member;
}

/* Whether what is sent to a backend that drains is something new, which goes elsewhere. */
static __always_inline bool is_fresh(const struct parsed *is, const struct flow *flow, u32 now) {
  if (is->has_flags)
    return (is->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
  return (s32)(now - flow->seen) > DRAIN_SECONDS;
}

static __always_inline struct member *known_member(const struct parsed *is, struct flow *flow, const struct flow_key *key, u32 now) {
  struct member_key to = {.service = flow->service, .backend = flow->backend};
  struct member *member = members.lookup(&to);
  if (!member || (member->flags & MEMBER_DRAINS && is_fresh(is, flow, now)))
    return NULL;
  if (flow->seen / NOTED_SECONDS != now / NOTED_SECONDS) { /* not each time: a hot row would bounce between CPUs */
    flow->seen = now;
    note_reply(key, member, flow->alias, now); /* its row may have been pushed out */
  }
  return member;
}

/* ---- What services get ---- */

/* An echo request becomes its reply where it is: its addresses and MACs change places, which no checksum notices, and its type, by which
 * its checksum is updated. */
static __always_inline int answer_echo(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct parsed *is) {
  u16 check, type = is->family == 4 ? htons(ICMP_ECHO << 8) : htons(ICMP6_ECHO << 8), reply = is->family == 4 ? 0 : htons(ICMP6_ECHO_REPLY << 8);
  u8 word = reply ? ICMP6_ECHO_REPLY : ICMP_ECHO_REPLY;
  if (pcn_load_bytes(ctx, is->l4 + 2, &check, 2) || pcn_store_bytes(ctx, is->l4, &word, 1))
    return refuse(md, PCN_DROP_MALFORMED);
  check = csum_update(check, type, reply);
  if (pcn_store_bytes(ctx, is->l4 + 2, &check, 2))
    return refuse(md, PCN_DROP_MALFORMED);
  swap_addresses(ctx, is);
  swap_macs(ctx);
  return pcn_pkt_redirect(ctx, md, md->in_port);
}

static __always_inline void note_fragment(const struct parsed *is, const u32 *src, const u32 *dst) {
  struct fragment_key key = {.id = is->fragment_id, .proto = is->proto};
  struct fragment row;
  __builtin_memcpy(key.src, is->src, 16);
  __builtin_memcpy(key.dst, is->dst, 16);
  __builtin_memcpy(row.src, src, 16);
  __builtin_memcpy(row.dst, dst, 16);
  fragments.update(&key, &row);
}

/* Both ends become others; a port that is 0 stays. */
static __always_inline bool translate(struct CTXTYPE *ctx, const struct parsed *is, const u32 *src, u32 sport, const u32 *dst, u32 dport) {
  struct rewrite_place at = place_of(is);
  pull_l4(ctx, is);
  if (!same_address(dst, is->dst) || dport != REWRITE_KEEP)
    if (!rewrite_end(ctx, &at, REWRITE_TARGET, dst, dport))
      return false;
  if (!same_address(src, is->src) || sport != REWRITE_KEEP)
    return rewrite_end(ctx, &at, REWRITE_SOURCE, src, sport);
  return true;
}

static __always_inline struct service *find_service(const u32 *vip, u16 vport, u8 proto) {
  struct service_key key = {.vport = vport, .proto = proto};
  __builtin_memcpy(key.vip, vip, 16);
  return services.lookup(&key);
}
