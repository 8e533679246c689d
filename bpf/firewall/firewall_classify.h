/* What a rule of the firewall asks, and what it says, for lib/classify.h. The includer defines `address_differs` and all else, and
 * ASKS_SETS where rules may ask for sets or MACs: packets that meet none of these do not pay for it. */

#ifdef ASKS_SETS
#include "lib/in_sets.h"
#define OUTSIDE(packet, tuple) is_outside_both(packet, (tuple)->sets)
#endif

static __always_inline u64 misses(const struct packet *packet, const struct CELL *cell) {
  const struct conditions *is = &cell->is;
  u32 sport = packet->ports >> 16, dport = packet->ports & 0xffff;
  u64 miss = address_differs(packet, cell);
  miss |= (packet->flags ^ is->flags_set) & is->flags_mask;
  miss |= is->needs_ports & ~packet->has_ports & 1;
  miss |= is_some(is->flags_mask) & ~packet->has_flags & 1;
  miss |= is_less(sport, is->sport_low) | is_less(is->sport_high, sport) | is_less(dport, is->dport_low) | is_less(is->dport_high, dport);
  miss |= is_some(is->states) & ~is_some(is->states & packet->state);
  miss |= is_some(is->device) & is_some(is->device ^ packet->device);
#ifdef ASKS_SETS
  miss |= is_outside_both(packet, is->sets) | is_other_sender(packet, is);
#endif
  return miss;
}

static __always_inline struct verdict verdict_of(const struct CELL *cell) {
  return (struct verdict){cell->is.rule, cell->is.action, cell->is.limit};
}

static __always_inline void take(struct packet *packet, u64 label, const struct verdict *verdict) {
  if ((1 ^ is_some(verdict->action ^ ACTION_LOG)) | is_some(verdict->limit)) {
    label = keep_undecided(&packet->undecided, label, verdict);
    u64 again = is_less(label, packet->best & NOBODY);
    packet->best ^= (packet->best ^ label) * again;
    packet->action ^= (packet->action ^ ACTION_AGAIN) * again;
    return;
  }
  packet->best = label;
  packet->rule = verdict->rule;
  packet->action = verdict->action;
}

#include "lib/classify.h"
