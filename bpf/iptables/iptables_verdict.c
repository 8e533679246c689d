/* The host firewall's µCube 4: counts the packet, does what was decided, and keeps the connection. */
#include "iptables.h"
#include "lib/l4_sum.h"
#include "lib/ratelimit.h"

#define LOGS_A_SECOND 100 /* on each CPU */

BPF_TABLE("percpu_array", u32, struct ratelimit, logged, 1);

static __always_inline bool may_log(void) {
  u32 zero = 0;
  struct ratelimit *limit = logged.lookup(&zero);
  return limit && ratelimit_take(limit, LOGS_A_SECOND);
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

/* The rules behind a label are asked. */
static __always_inline int search_after(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet, u64 label) {
  if (++packet->passes >= 16)
    return pcn_count_drop(DROP_TOO_DEEP);
  packet->after = label;
  packet->best = NO_LABEL;
  packet->at = packet->seat = 0;
  return classify(ctx, md, packet);
}

/* What was to be accepted is not what it says: all rules are asked what is to become of it. */
static __always_inline int search_as_invalid(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet) {
  packet->state = STATE_INVALID;
  packet->next.state = CONNECTION_NONE;
  packet->news = 0;
  return search_after(ctx, md, packet, 0);
}

static __always_inline u32 action_of(const struct packet *packet) {
  return packet->best == NO_LABEL ? packet->default_action : packet->action;
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  if (!packet)
    return RX_DROP;
  if (packet->news && action_of(packet) == ACTION_ACCEPT && !is_whole(ctx, packet))
    return search_as_invalid(ctx, md, packet);
  FORGET(); /* what is known is read anew: the verifier need not follow each way to it */
  u32 action = action_of(packet);
  count(packet);
  if (action == ACTION_LOG)
    write_log(ctx, packet);
  if (action == ACTION_LOG || action == ACTION_RETURN)
    return search_after(ctx, md, packet, action == ACTION_LOG ? packet->best : packet->skip);
  if ((action & ACTION_KIND) == ACTION_REJECT)
    return tail_call_next(ctx, IPTABLES_REJECT);
  if (action != ACTION_ACCEPT) {
    md->reason = PCN_DROP_POLICY;
    return RX_DROP;
  }
  keep_connection(packet);
  return let_go(ctx, packet);
}
