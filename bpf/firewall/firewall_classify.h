/* What a rule of the firewall asks, and what it says, for lib/classify.h. The includer defines `address_differs` and all else. */

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
  return miss;
}

struct verdict {
  u64 rule;
  u32 action, limit;
};

static __always_inline struct verdict verdict_of(const struct CELL *cell) {
  return (struct verdict){cell->is.rule, cell->is.action, cell->is.limit};
}

static __always_inline void take(struct packet *packet, const struct verdict *verdict) {
  packet->rule = verdict->rule;
  packet->action = verdict->action;
  packet->limit = verdict->limit;
}

#include "lib/classify.h"
