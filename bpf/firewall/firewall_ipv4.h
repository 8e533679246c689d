/* Keys, cells and pages of IPv4 for lib/classify.h. The includer defines SELF. */
#include "firewall_smac.h"

#define KEY key4
#define CELL cell4
#define PAGE page4

static __always_inline struct page4 *find_page(u32 index) { return pages4.lookup(&index); }
static __always_inline struct cell4 *find_cell(struct key4 *key) { return cells4.lookup(key); }

static __always_inline void key_of(struct key4 *key, const struct packet *packet, const struct tuple4 *tuple) {
  key->space = tuple->space;
  key->sets = tuple->sets;
  key->src = packet->src[3] & tuple->src;
  key->dst = packet->dst[3] & tuple->dst;
  key->ports = key_ports(packet, tuple->ports, tuple->sets);
  key->proto = packet->proto & tuple->proto;
}

static __always_inline u32 address_differs(const struct packet *packet, const struct cell4 *cell) {
  return ((packet->src[3] ^ cell->src) & cell->src_mask) | ((packet->dst[3] ^ cell->dst) & cell->dst_mask);
}

#include "firewall_classify.h"
