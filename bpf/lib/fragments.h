/* Later fragments have the ports of their first one, if that came before them. The includer has a struct packet, with PARSED of
 * lib/parse.h in it and u32 talk (lib/follow.h).
 */
#ifndef PCN_LIB_FRAGMENTS_H
#define PCN_LIB_FRAGMENTS_H
#define FRAGMENT_TIME (30 * 1000000000ULL)

struct fragment_key {
  u32 src[4], dst[4];
  u32 id;
  u32 proto;
};
struct fragment {
  u64 seen;
  u32 talk, ports;
};
BPF_TABLE("lru_hash", struct fragment_key, struct fragment, fragments, 8192);

/* Fragments that follow have the first one's ports, and belong to its connection. */
static __always_inline void remember_fragment(struct packet *packet) {
  struct fragment_key key = {.id = packet->fragment_id, .proto = packet->proto};
  __builtin_memcpy(key.src, packet->src, 32);
  if (packet->later_fragment) {
    struct fragment *first = fragments.lookup(&key);
    if (first && bpf_ktime_get_coarse_ns() - first->seen < FRAGMENT_TIME) {
      packet->talk = first->talk;
      packet->ports = first->ports;
      packet->has_ports = 1;
    }
  } else if (packet->has_ports) {
    struct fragment first = {bpf_ktime_get_coarse_ns(), packet->talk, packet->ports};
    fragments.update(&key, &first);
  }
}
#endif
