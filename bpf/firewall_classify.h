/* The first rule that matches: tuple space search (docs/decisions has the reasons).
 *
 * For each tuple, the packet's bits under its mask are a key; the cells under that key are the only rules of the tuple that
 * can match. Tuples come in the order of their first rule's label, so the search ends as soon as none that is left can
 * hold a better rule than the one found. A search that needs more than STEPS look-ups goes on in another pass of this
 * program; the control plane refuses rule sets that could need more than PASSES of them.
 *
 * The includer defines KEY, CELL, PAGE and SELF, and `find_page`, `find_cell`, `key_of`, `address_matches`.
 */
#define STEPS 32
#define PASSES 16

/* Bitwise on purpose: one branch for the verifier to follow, and for the CPU to guess. */
static __always_inline bool matches(const struct packet *packet, const struct conditions *is) {
  u32 sport = packet->ports >> 16, dport = packet->ports & 0xffff;
  u32 miss = (packet->flags ^ is->flags_set) & is->flags_mask;
  miss |= is->needs_ports & !packet->has_ports;
  miss |= (is->flags_mask != 0) & !packet->has_flags;
  miss |= (sport < is->sport_low) | (sport > is->sport_high) | (dport < is->dport_low) | (dport > is->dport_high);
  miss |= (is->states != 0) & !(is->states & packet->state);
  miss |= (is->device != 0) & (is->device != packet->device);
  return !miss;
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = at_hand();
  if (!packet)
    return RX_DROP;
  /* What changes from step to step is kept in memory: in registers the verifier would follow each value of it. */
  for (int step = 0; step < STEPS; step++) {
    u32 at = packet->at, seat = packet->seat, index = packet->page + at / PAGE_TUPLES;
    struct PAGE *page = find_page(index);
    if (at >= packet->tuples || !page || page->tuples[at % PAGE_TUPLES].best >= packet->best)
      return go_on(ctx, FIREWALL_VERDICT);
    struct KEY key = {.seat = seat};
    key_of(&key, packet, &page->tuples[at % PAGE_TUPLES]);
    bool skip = page->tuples[at % PAGE_TUPLES].ports && !packet->has_ports;
    struct CELL *cell = skip ? NULL : find_cell(&key);
    packet->seat = 0;
    packet->at = at + 1;
    if (!cell)
      continue;
    if (cell->life.more) {
      packet->seat = seat + 1;
      packet->at = at;
    }
    bool there = (cell->life.born <= packet->epoch) & (packet->epoch < cell->life.dies);
    if (there & (cell->is.label < packet->best) & (cell->is.label > packet->after) & address_matches(packet, cell) &
        matches(packet, &cell->is)) {
      packet->best = cell->is.label;
      packet->rule = cell->is.rule;
      packet->action = cell->is.action;
      packet->limit = cell->is.limit;
    }
  }
  if (++packet->passes >= PASSES)
    return pcn_count_drop(DROP_TOO_DEEP);
  return go_on(ctx, SELF);
}
