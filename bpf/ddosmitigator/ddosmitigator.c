/* Drops what comes from, or goes to, a listed address, and counts it by row.
 *
 * SRC_MATCH and DST_MATCH are 1 while the list has entries; an empty list's half of the program is not loaded at all.
 * In front of both lists, which fall out of the cache where they are long, each of their addresses has three bits in a row of 512, by a
 * hash: where one is not set, and that is for 32 of 33 addresses that are not listed, nothing is looked up. There are
 * 2^(64 - FILTER_SHIFT) rows.
 *
 * IPv4 addresses are looked up as ::ffff:a.b.c.d. Up to two VLAN tags are stepped over; what has more is dropped, since a host
 * that ignores priority tags would take any number of them.
 */
#include "lib/addr.h"
#include "lib/parse.h"

struct ip_key {
  u8 addr[16] __attribute__((aligned(4)));
};
BPF_TABLE("percpu_array", u32, u64, dropcnt, 1);
BPF_F_TABLE("percpu_hash", struct ip_key, u64, srcblacklist, 65536, BPF_F_NO_PREALLOC);
BPF_F_TABLE("percpu_hash", struct ip_key, u64, dstblacklist, 65536, BPF_F_NO_PREALLOC);

struct filter_row {
  u8 bits[64];
};
BPF_TABLE("array", u32, struct filter_row, blacklist_filter, 128);

#define HEADERS (sizeof(struct ethhdr) + 2 * 4 + sizeof(struct ipv6hdr)) /* the most that is looked at */

struct addresses {
  struct ip_key src, dst;
};

/* 1: `found` is filled; 0: no IP packet; -1: cut short, or a third tag. */
static __always_inline int find_addresses(struct CTXTYPE *ctx, struct addresses *found) {
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end, *next;
  u32 tags = 0;
  u16 proto;
  next = parse_link(data, data_end, &tags, &proto);
  if (!next || pcn_is_tag(proto))
    return -1;
  if (proto == htons(ETH_P_IP)) {
    struct iphdr *ip = next;
    if ((void *)(ip + 1) > data_end)
      return -1;
    v4_mapped(&found->src, ip->saddr);
    v4_mapped(&found->dst, ip->daddr);
    return 1;
  }
  if (proto == htons(ETH_P_IPV6)) {
    struct ipv6hdr *ip = next;
    if ((void *)(ip + 1) > data_end)
      return -1;
    __builtin_memcpy(&found->src, &ip->saddr, 16);
    __builtin_memcpy(&found->dst, &ip->daddr, 16);
    return 1;
  }
  return 0;
}

/* cubes/ddosmitigator hashes in the same way. */
static __always_inline bool may_be_listed(const struct ip_key *key, u64 list) {
  const u32 *words = (const u32 *)key->addr;
  u64 hash = (words[0] | (u64)words[1] << 32) * 0x9e3779b97f4a7c15ULL + ((words[2] | (u64)words[3] << 32) ^ list);
  hash = (hash ^ hash >> 32) * 0xd6e8feb86659fd93ULL;
  u32 row = hash >> PCN_CONST(FILTER_SHIFT);
  struct filter_row *found = blacklist_filter.lookup(&row);
  return found && found->bits[hash >> 3 & 63] >> (hash & 7) & found->bits[hash >> 12 & 63] >> (hash >> 9 & 7) &
                      found->bits[hash >> 21 & 63] >> (hash >> 18 & 7) & 1;
}

static __always_inline int drop(u64 *row) {
  u32 zero = 0;
  u64 *total = dropcnt.lookup(&zero);
  if (total)
    (*total)++;
  (*row)++;
  return RX_DROP;
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct addresses found;
  u64 *row;
  if (!PCN_CONST(SRC_MATCH) && !PCN_CONST(DST_MATCH))
    return RX_OK;
  int parsed = find_addresses(ctx, &found);
  if (parsed < 0 && pcn_pull(ctx, HEADERS))
    parsed = find_addresses(ctx, &found);
  if (parsed < 0) {
    md->reason = PCN_DROP_MALFORMED;
    return RX_DROP;
  }
  if (!parsed)
    return RX_OK;
  if (PCN_CONST(SRC_MATCH) && may_be_listed(&found.src, 0) && (row = srcblacklist.lookup(&found.src)))
    return drop(row);
  if (PCN_CONST(DST_MATCH) && may_be_listed(&found.dst, 1) && (row = dstblacklist.lookup(&found.dst)))
    return drop(row);
  return RX_OK;
}
