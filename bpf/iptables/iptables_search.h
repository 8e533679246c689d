/* The first rule that matches a packet, for lib/classify.h. The includer defines SELF, and ASKS_SETS where rules may ask for sets: packets
 * that meet none of these do not pay for it. Rules that ask for other sets are in other tuples, so a cell does not ask again. */
#ifdef ASKS_SETS
#include "lib/in_sets.h"
#define OUTSIDE(packet, tuple) is_outside_both(packet, (tuple)->sets)
#endif

#define KEY key
#define CELL cell
#define PAGE page

static __always_inline struct page *find_page(u32 index) { return pages.lookup(&index); }
static __always_inline struct cell *find_cell(struct key *key) { return cells.lookup(key); }

static __always_inline void key_of(struct key *key, const struct packet *packet, const struct tuple *tuple) {
  key->space = tuple->space;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    key->src[i] = packet->src[i] & tuple->src[i];
    key->dst[i] = packet->dst[i] & tuple->dst[i];
  }
  key->ports = packet->ports & tuple->ports;
  key->proto = packet->proto & tuple->proto;
}

/* 1 if it differs, or if it is inverted and does not. */
static __always_inline u64 is_wrong(u64 differs, u8 inverted, u8 bit) { return is_some(differs) ^ is_some(inverted & bit); }

static __always_inline u64 misses(const struct packet *packet, const struct cell *cell) {
  const struct conditions *is = &cell->is;
  u32 sport = packet->ports >> 16, dport = packet->ports & 0xffff, src = 0, dst = 0;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    src |= (packet->src[i] ^ is->src[i]) & is->src_mask[i];
    dst |= (packet->dst[i] ^ is->dst[i]) & is->dst_mask[i];
  }
  u64 miss = is_wrong(src, is->inverted, INVERTED_SRC) | is_wrong(dst, is->inverted, INVERTED_DST);
  miss |= is_some(is->in) & is_wrong(is->in ^ packet->in, is->inverted, INVERTED_IN);
  miss |= is_some(is->out) & is_wrong(is->out ^ packet->out, is->inverted, INVERTED_OUT);
  miss |= is_some(is->family) & is_some(is->family ^ packet->family);
  miss |= (packet->flags ^ is->flags_set) & is->flags_mask;
  miss |= is->needs_ports & ~packet->has_ports & 1;
  miss |= is_some(is->flags_mask) & ~packet->has_flags & 1;
  miss |= is_less(sport, is->sport_low) | is_less(is->sport_high, sport) | is_less(dport, is->dport_low) | is_less(is->dport_high, dport);
  miss |= is_some(is->states) & ~is_some(is->states & packet->state);
  return miss;
}

static __always_inline struct verdict verdict_of(const struct cell *cell) {
  return (struct verdict){cell->is.rule, cell->is.skip, cell->is.action | (u32)cell->is.limited << 8, 0};
}

static __always_inline void take(struct packet *packet, u64 label, const struct verdict *verdict) {
  if ((1 ^ is_some(verdict->action ^ ACTION_LOG)) | is_some(verdict->action & ACTION_LIMITED)) {
    label = keep_undecided(&packet->undecided, label, verdict);
    u64 again = is_less(label, packet->best & NOBODY);
    packet->best ^= (packet->best ^ label) * again;
    packet->action ^= (packet->action ^ ACTION_AGAIN) * again;
    return;
  }
  packet->best = label;
  packet->rule = verdict->rule;
  packet->skip = verdict->skip;
  packet->action = verdict->action;
}

#include "lib/classify.h"
