/* The first rule that matches: tuple space search (docs/decisions has the reasons).
 *
 * For each tuple, the packet's bits under its mask are a key; the cells under that key are the only rules of the tuple that
 * can match. Tuples come in the order of their first rule's label, so the search ends as soon as none that is left can
 * hold a better rule than the one found. A search that needs more than STEPS look-ups goes on in another pass of this
 * program; the control plane refuses rule sets that could need more than PASSES of them (cubes/lib).
 *
 * This is a whole µCube. The includer declares, after lib/tuples.h,
 *     struct packet          the packet at hand: u32 epoch, tuples, page (this version's), at, seat, passes; u64 after (labels up to this
 *                            one were dealt with), best; u8 has_ports
 *     KEY, CELL, PAGE        structs: a key begins with its tuple's `space` and has a `seat`; a cell begins with its key, has
 *                            `is.label`, below 2^63, and a lifetime `life`; a page has PAGE_TUPLES `tuples`, each with `best`, its first
 *                            label, and `ports`, which are 0 if packets without ports are in it too
 *     OUTSIDE(packet, tuple) if it is defined: whether the packet can match no rule of the tuple
 *     SELF                   the number of this program
 *     packet_context(), find_page(index), find_cell(key), key_of(key, packet, tuple)
 *     misses(packet, cell)   0 if the packet is what the rule asks for, without a branch; nothing is taken for granted because the key
 *                            matched
 *     struct verdict, verdict_of(cell), take(packet, label, verdict)   what the search is for: read from a cell, and kept once it counts,
 *                            as `best` if nothing behind it is wanted any more
 *     finish_lookup(ctx, md, packet), tail_call_next(ctx, program)
 *     DROP_TOO_DEEP          a reason of a drop
 */
#define STEPS 32
#define PASSES 16

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
#ifdef OUTSIDE
    if (OUTSIDE(packet, &page->tuples[at % PAGE_TUPLES]))
      skip = true;
#endif
    struct CELL *cell = skip ? NULL : find_cell(&key);
    if (!cell) {
      packet->seat = 0;
      packet->at = at + 1;
      continue;
    }
    u64 label = cell->is.label;
    struct verdict verdict = verdict_of(cell);
    u32 more = cell->life.more;
    u64 best = packet->best << 1 >> 1; /* NO_LABEL is the highest label then */
    u64 here = is_less(label, best) & is_less(packet->after, label) & is_less(packet->epoch, cell->life.dies);
    u64 miss = (1 ^ here) | is_less(packet->epoch, cell->life.born);
    miss |= misses(packet, cell);
    asm volatile("" : "+r"(miss) : : "memory"); /* all of the row is read and compared by now: little is left to be kept meanwhile */
    if (!is_of(cell, &key))
      continue;
    packet->seat = more ? seat + 1 : 0;
    packet->at = more ? at : at + 1;
    if (!miss) {
      take(packet, label, &verdict);
    }
  }
  if (++packet->passes > PASSES) /* a full one may have been the last: the next one sees that */
    return pcn_count_drop(DROP_TOO_DEEP);
  return tail_call_next(ctx, SELF);
}
