/* The firewall's µCube 4: counts the packet, does what was decided, and keeps the connection. */
#include "firewall_rematch.h"
#include "firewall_limit.h"
#include "firewall_log.h"
#include "lib/l4_sum.h"

/* The rules behind a label are asked. */
static __always_inline int search_after(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet, u64 label) {
  if (++packet->passes >= 16)
    return pcn_count_drop(DROP_TOO_DEEP);
  packet->after = label;
  packet->best = NO_LABEL;
  packet->at = packet->seat = packet->undecided.some = 0;
  return classify(ctx, md, packet);
}

/* What was to be accepted is not what it says: all rules are asked what is to become of it. */
static __always_inline int search_as_invalid(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet) {
  take_as_it_is(packet);
  packet->state = STATE_INVALID;
  packet->next.state = CONNECTION_NONE;
  packet->news = 0;
  return search_after(ctx, md, packet, 0);
}

static __always_inline bool is_established(const struct packet *packet) {
  return packet->best == NO_LABEL && packet->state == STATE_ESTABLISHED && packet->mode & MODE_ACCEPT_ESTABLISHED;
}

static __always_inline u32 action_of(const struct packet *packet) {
  if (packet->best != NO_LABEL)
    return packet->action;
  return is_established(packet) ? ACTION_ACCEPT : packet->default_action;
}

/* Does what the rules say that come before the one that decides; one within its limit may decide in its place. */
static __always_inline void do_undecided(struct CTXTYPE *ctx, struct packet *packet) {
  for (int i = 0; i < UNDECIDED; i++) {
    struct undecided *one = &packet->undecided.rules[i];
    u64 label = one->label, rule = one->verdict.rule;
    u32 action = one->verdict.action, limit = one->verdict.limit;
    if (!is_less(label, packet->best & NOBODY))
      return;
    if (limit && !within(packet, rule, limit))
      continue;
    if (action == ACTION_LOG) {
      count(rule, packet->length);
      write_log(ctx, packet, rule);
      continue;
    }
    packet->best = label;
    packet->rule = rule;
    packet->action = action;
    return;
  }
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  if (!packet)
    return RX_DROP;
  if (packet->undecided.some)
    do_undecided(ctx, packet);
  FORGET(); /* what is known is read anew: the verifier need not follow each way to it */
  if (packet->best != NO_LABEL && packet->action == ACTION_AGAIN)
    return search_after(ctx, md, packet, packet->best - 1);
  if (packet->news && action_of(packet) == ACTION_ACCEPT && !is_whole(ctx, packet))
    return search_as_invalid(ctx, md, packet);
  FORGET();
  u32 action = action_of(packet);
  if (packet->best != NO_LABEL)
    count(packet->rule, packet->length);
  else
    count_decided(is_established(packet) ? DECIDER_ESTABLISHED : DECIDER_DEFAULT, packet->turned & 1, packet->length);
  if ((action & ACTION_KIND) == ACTION_REJECT) {
    take_as_it_is(packet);
    return tail_call_next(ctx, FIREWALL_REJECT);
  }
  if (action != ACTION_ACCEPT) {
    md->reason = PCN_DROP_POLICY;
    return RX_DROP;
  }
  note_accepted(packet);
  keep_connection(packet);
  return RX_OK;
}
