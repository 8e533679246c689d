/* The host firewall's µCube 4: counts the packet, does what was decided, and keeps the connection. */
#include "iptables.h"
#include "iptables_details.h"
#include "lib/l4_sum.h"

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
  return packet->best == NO_LABEL ? packet->default_action : packet->action & ~ACTION_LIMITED;
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  if (!packet)
    return RX_DROP;
  if (packet->best != NO_LABEL && packet->action & ACTION_LIMITED && !within(packet))
    return search_after(ctx, md, packet, packet->best);
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
