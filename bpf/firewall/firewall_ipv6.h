/* Keys, cells and pages of IPv6 for lib/classify.h. The includer defines SELF. */
#include "firewall_smac.h"

#define KEY key6
#define CELL cell6
#define PAGE page6

static __always_inline struct page6 *find_page(u32 index) { return pages6.lookup(&index); }
static __always_inline struct cell6 *find_cell(struct key6 *key) { return cells6.lookup(key); }

static __always_inline void key_of(struct key6 *key, const struct packet *packet, const struct tuple6 *tuple) {
  key->space = tuple->space;
  key->sets = tuple->sets;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    key->src[i] = packet->src[i] & tuple->src[i];
    key->dst[i] = packet->dst[i] & tuple->dst[i];
  }
  key->ports = key_ports(packet, tuple->ports, tuple->sets);
  key->proto = packet->proto & tuple->proto;
}

static __always_inline u32 address_differs(const struct packet *packet, const struct cell6 *cell) {
  u32 miss = 0;
#pragma unroll
  for (int i = 0; i < 4; i++)
    miss |= ((packet->src[i] ^ cell->src[i]) & cell->src_mask[i]) | ((packet->dst[i] ^ cell->dst[i]) & cell->dst_mask[i]);
  return miss;
}

#include "firewall_classify.h"
