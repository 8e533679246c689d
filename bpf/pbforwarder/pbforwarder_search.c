/* The forwarder's µCube 1: the first rule that matches, by lib/classify.h. What most rules say is done here. */
#include "pbforwarder.h"

#define KEY key
#define CELL cell
#define PAGE page
#define SELF PBF_SEARCH

static __always_inline struct page *find_page(u32 index) { return pages.lookup(&index); }
static __always_inline struct cell *find_cell(struct key *key) { return cells.lookup(key); }

static __always_inline void key_of(struct key *key, const struct packet *packet, const struct tuple *tuple) {
  key->space = tuple->space;
#pragma unroll
  for (int i = 0; i < WORDS; i++)
    key->words[i] = packet->words[i] & tuple->words[i];
  key->proto = packet->proto & tuple->proto;
  key->port = packet->port & tuple->port;
}

static __always_inline u64 misses(const struct packet *packet, const struct cell *cell) {
  const struct conditions *is = &cell->is;
  u32 sport = packet->words[AT_PORTS] >> 16, dport = packet->words[AT_PORTS] & 0xffff, differs = 0;
#pragma unroll
  for (int i = 0; i < WORDS; i++)
    differs |= (packet->words[i] ^ cell->words[i]) & cell->mask[i];
  u64 miss = differs;
  miss |= (packet->proto ^ is->proto) & is->proto_mask;
  miss |= (packet->port ^ is->port) & is->port_mask;
  miss |= is->needs_ports & ~packet->has_ports & 1;
  miss |= is_less(sport, is->sport_low) | is_less(is->sport_high, sport) | is_less(dport, is->dport_low) | is_less(is->dport_high, dport);
  return miss;
}

struct verdict {
  u64 rule;
  u16 action, out_port;
};

static __always_inline struct verdict verdict_of(const struct cell *cell) {
  return (struct verdict){cell->is.rule, cell->is.action, cell->is.out_port};
}

static __always_inline void take(struct packet *packet, u64 label, const struct verdict *verdict) {
  packet->best = label;
  packet->rule = verdict->rule;
  packet->action = verdict->action;
  packet->out_port = verdict->out_port;
}

static __always_inline int finish_lookup(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet) {
  if (packet->best == NO_LABEL || packet->action == ACTION_DROP)
    return RX_DROP;
  if (packet->action == ACTION_FORWARD)
    return pcn_pkt_redirect(ctx, md, packet->out_port);
  if (packet->action == ACTION_REWRITE)
    return tail_call_next(ctx, PBF_REWRITE);
  u32 metadata[3] = {packet->best - 1};
  return pcn_pkt_controller_with_metadata(ctx, md, ACTION_SLOWPATH, metadata);
}

#include "lib/classify.h"
