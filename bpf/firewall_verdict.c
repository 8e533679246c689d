/* The firewall's µCube 4: counts the packet, does what was decided, and keeps the connection.
 */
#include "firewall.h"

#define SECOND 1000000000ULL
#define LOGS_A_SECOND 100 /* on each CPU, for the cube as a whole */

/* A rule's packets in the second that began at `since`. */
struct allowance {
  u64 since;
  u64 used;
};
BPF_TABLE("lru_hash", u64, struct allowance, allowances, 4096);
BPF_TABLE("percpu_array", u32, struct allowance, logged, 1);

/* Whether a rule may match once more in this second. Two CPUs may both take the last one: the limit is not exact. */
static __always_inline bool within(u64 rule, u32 limit) {
  u64 now = bpf_ktime_get_ns();
  struct allowance *allowance = allowances.lookup(&rule);
  if (!allowance) {
    struct allowance first = {now, 1};
    allowances.update(&rule, &first);
    return true;
  }
  if (now - allowance->since >= SECOND) {
    allowance->since = now;
    allowance->used = 0;
  }
  if (allowance->used >= limit)
    return false;
  __sync_fetch_and_add(&allowance->used, 1);
  return true;
}

static __always_inline bool may_log(void) {
  u32 zero = 0;
  u64 now = bpf_ktime_get_ns();
  struct allowance *allowance = logged.lookup(&zero);
  if (!allowance)
    return false;
  if (now - allowance->since >= SECOND) {
    allowance->since = now;
    allowance->used = 0;
  }
  return allowance->used++ < LOGS_A_SECOND;
}

static __always_inline void write_log(struct CTXTYPE *ctx, const struct packet *packet) {
  if (!may_log())
    return;
  if (packet->family == 4)
    pcn_log(ctx, LOG_INFO, "%I > %I, protocol %d, ports (ICMP: type, code) %08x", packet->src[3], packet->dst[3], packet->proto, packet->ports);
  else
    pcn_log(ctx, LOG_INFO, "IPv6 ...%08x > ...%08x, protocol %d, ports (ICMP: type, code) %08x", ntohl(packet->src[3]), ntohl(packet->dst[3]),
            packet->proto, packet->ports);
}

/* The next rules are asked. */
static __always_inline int search_on(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet) {
  if (++packet->passes >= 16)
    return pcn_count_drop(DROP_TOO_DEEP);
  packet->after = packet->best;
  packet->best = NO_LABEL;
  packet->at = packet->seat = 0;
  return classify(ctx, md, packet);
}

static __always_inline void update(struct connection *known, const struct packet *packet) {
  known->state = packet->next.state;
  known->opener = packet->next.opener;
  known->expires = packet->next.expires;
}

static __always_inline void keep_connection(struct packet *packet) {
  struct connection *known;
  if (packet->next.state == CONNECTION_NONE)
    return;
  if (packet->settles || (packet->settled && packet->next.state != SYN_SENT)) {
    known = connections.lookup(&packet->connection);
    if (known) {
      update(known, packet);
    } else {
      connections.update(&packet->connection, &packet->next);
      openings.delete(&packet->connection);
    }
    return;
  }
  if (packet->settled) /* it is over, and its ports are used again */
    connections.delete(&packet->connection);
  known = openings.lookup(&packet->connection);
  if (known)
    update(known, packet);
  else
    openings.update(&packet->connection, &packet->next);
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = at_hand();
  if (!packet)
    return RX_DROP;
  u32 action = packet->default_action;
  if (packet->best != NO_LABEL) {
    if (packet->limit && !within(packet->rule, packet->limit))
      return search_on(ctx, md, packet);
    action = packet->action;
    count(packet->rule, packet->length);
  } else if (packet->state == STATE_ESTABLISHED && packet->mode & MODE_ACCEPT_ESTABLISHED) {
    action = ACTION_ACCEPT;
    count_decided(DECIDER_ESTABLISHED, packet->length);
  } else {
    count_decided(DECIDER_DEFAULT, packet->length);
  }
  if (action == ACTION_LOG) {
    write_log(ctx, packet);
    return search_on(ctx, md, packet);
  }
  if (action == ACTION_REJECT)
    return go_on(ctx, FIREWALL_REJECT);
  if (action != ACTION_ACCEPT) {
    md->reason = PCN_DROP_POLICY;
    return RX_DROP;
  }
  keep_connection(packet);
  return RX_OK;
}
