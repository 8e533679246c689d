/* A learning switch without VLANs or spanning tree.
 *
 * Stations that the configuration pins to a port are in a table of their own: the learned ones live in an LRU, which
 * must be free to evict. STATIC is 1 while there are pinned ones; without any, their look-ups are not loaded.
 * Ageing is checked at look-up: a station not seen for longer than aging_time floods.
 */
#include "lib/addr.h"
#include "lib/clock.h"

struct fdb_key {
  u8 mac[6];
  u8 zero[2];
};
struct fdb_station {
  u32 port;
  u32 seen; /* CLOCK_MONOTONIC, seconds */
};
struct fdb_settings {
  u32 aging_time; /* seconds */
};
BPF_TABLE("lru_hash", struct fdb_key, struct fdb_station, fwdtable, 16384);
BPF_F_TABLE("hash", struct fdb_key, struct fdb_station, fdb_static, 16384, BPF_F_NO_PREALLOC);
BPF_TABLE("array", u32, struct fdb_settings, fdb_config, 1);

/* What was configured, kept to be read back: the programs do not look at it. */
struct limits {
  u32 stations;
};
BPF_TABLE("array", u32, struct limits, limits, 1);

static __always_inline void learn(struct fdb_key *source, u32 port, u32 now) {
  struct fdb_station *known;
  if (PCN_CONST(STATIC) && fdb_static.lookup(source))
    return;
  known = fwdtable.lookup(source);
  if (!known) {
    struct fdb_station fresh = {.port = port, .seen = now};
    fwdtable.update(source, &fresh);
  } else if (known->port != port || known->seen != now) {
    /* Written only when something is new: a hot station's row would otherwise bounce between CPUs. */
    known->port = port;
    known->seen = now;
  }
}

static __always_inline struct fdb_station *find(struct fdb_key *target, u32 now) {
  u32 zero = 0;
  struct fdb_settings *settings = fdb_config.lookup(&zero);
  struct fdb_station *station;
  if (PCN_CONST(STATIC) && (station = fdb_static.lookup(target)))
    return station;
  station = fwdtable.lookup(target);
  /* Another CPU may just have written a later second than ours: such an age is negative, not huge. */
  if (!station || !settings)
    return NULL;
  s32 age = now - station->seen;
  return age > 0 && (u32)age > settings->aging_time ? NULL : station;
}

/* 01:80:c2:00:00:01 to :0f are for the station at the other end of a wire (802.1Q 8.6.3): pause frames, LACP, 802.1X, LLDP. Spanning
 * tree's :00 goes on, as from a Linux bridge without it: those around that speak it then find loops that lead through here. */
static __always_inline bool is_reserved(const u8 *mac) {
  return mac[0] == 0x01 && mac[1] == 0x80 && mac[2] == 0xc2 && !(mac[3] | mac[4]) && mac[5] && mac[5] < 0x10;
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct ethhdr *eth = data;
  struct fdb_key source = {}, target = {};
  u32 now = clock_seconds();
  if (data + sizeof(*eth) > data_end) {
    md->reason = PCN_DROP_MALFORMED;
    return RX_DROP;
  }
  __builtin_memcpy(source.mac, eth->h_source, 6);
  __builtin_memcpy(target.mac, eth->h_dest, 6);

  if (!(source.mac[0] & MULTICAST))
    learn(&source, md->in_port, now);
  if (target.mac[0] & MULTICAST)
    return is_reserved(target.mac) ? RX_DROP : pcn_pkt_flood(ctx, md);

  struct fdb_station *station = find(&target, now);
  if (!station)
    return pcn_pkt_flood(ctx, md);
  if (station->port == md->in_port)
    return RX_DROP; /* it is on the side it came from */
  return pcn_pkt_redirect(ctx, md, station->port);
}
