/* The first rule that matches: tuple space search (docs/decisions has the reasons).
 *
 * For each tuple, the packet's bits under its mask are a key; the cells under that key are the only rules of the tuple that
 * can match. Tuples come in the order of their first rule's label, so the search ends as soon as none that is left can
 * hold a better rule than the one found. A search that needs more than STEPS look-ups goes on in another pass of this
 * program; the control plane refuses rule sets that could need more than PASSES of them.
 *
 * The includer defines KEY, CELL, PAGE and SELF, and `find_page`, `find_cell`, `key_of`, `address_differs`.
 */
#define STEPS 32
#define PASSES 16

/* Comparisons without a branch: 1 or 0, of a number that the verifier does not know. With a branch for each it would follow every
 * combination of outcomes to the end of the search (over a million instructions on Linux 6.1), and the CPU would have to guess them. */
static __always_inline u64 top_bit(u64 value) {
  asm("" : "+r"(value)); /* or the compiler makes a comparison of it, and a branch of that */
  return value >> 63;
}
static __always_inline u64 is_less(u64 a, u64 b) { return top_bit(a - b); } /* of numbers below 2^63, as labels are */
static __always_inline u64 is_some(u64 value) { return top_bit(value | -value); }

static __always_inline u64 misses(const struct packet *packet, const struct conditions *is) {
  u32 sport = packet->ports >> 16, dport = packet->ports & 0xffff;
  u64 miss = (packet->flags ^ is->flags_set) & is->flags_mask;
  miss |= is->needs_ports & ~packet->has_ports & 1;
  miss |= is_some(is->flags_mask) & ~packet->has_flags & 1;
  miss |= is_less(sport, is->sport_low) | is_less(is->sport_high, sport) | is_less(dport, is->dport_low) | is_less(is->dport_high, dport);
  miss |= is_some(is->states) & ~is_some(is->states & packet->state);
  miss |= is_some(is->device) & is_some(is->device ^ packet->device);
  return miss;
}

/* The kernel gives the memory of a row that goes to another one at once, even while we read it. So the row is read first, and then
 * it is looked at whose it is: if it is another's by now, the look-up is made again. */
static __always_inline bool is_of(const struct CELL *cell, const struct KEY *key) {
  const u32 *own = (const u32 *)&cell->key, *wanted = (const u32 *)key;
  u32 differs = 0;
#pragma unroll
  for (int i = 0; i < sizeof(*key) / 4; i++)
    differs |= own[i] ^ wanted[i];
  asm("" : "+r"(differs)); /* one test at the end, or LLVM 19 keeps every term on the stack */
  return !differs;
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  if (!packet)
    return RX_DROP;
  /* What changes from step to step is kept in memory: in registers the verifier would follow each value of it. */
  for (int step = 0; step < STEPS; step++) {
    u32 at = packet->at, seat = packet->seat, index = packet->page + at / PAGE_TUPLES;
    struct PAGE *page = find_page(index);
    if (at >= packet->tuples || !page || page->tuples[at % PAGE_TUPLES].best >= packet->best)
      return finish_lookup(ctx, md, packet);
    struct KEY key = {.seat = seat};
    key_of(&key, packet, &page->tuples[at % PAGE_TUPLES]);
    bool skip = page->tuples[at % PAGE_TUPLES].ports && !packet->has_ports;
    struct CELL *cell = skip ? NULL : find_cell(&key);
    if (!cell) {
      packet->seat = 0;
      packet->at = at + 1;
      continue;
    }
    u64 label = cell->is.label, rule = cell->is.rule;
    u32 action = cell->is.action, limit = cell->is.limit, more = cell->life.more;
    u64 best = packet->best << 1 >> 1; /* NO_LABEL is the highest label then */
    u64 here = is_less(label, best) & is_less(packet->after, label) & is_less(packet->epoch, cell->life.dies);
    u64 miss = (1 ^ here) | is_less(packet->epoch, cell->life.born);
    miss |= address_differs(packet, cell) | misses(packet, &cell->is);
    asm volatile("" : "+r"(miss) : : "memory"); /* all of the row is read and compared by now: little is left to be kept meanwhile */
    if (!is_of(cell, &key))
      continue;
    packet->seat = more ? seat + 1 : 0;
    packet->at = more ? at : at + 1;
    if (!miss) {
      packet->best = label;
      packet->rule = rule;
      packet->action = action;
      packet->limit = limit;
    }
  }
  if (++packet->passes >= PASSES)
    return pcn_count_drop(DROP_TOO_DEEP);
  return tail_call_next(ctx, SELF);
}
