/* At a Kubernetes node's netdev: TCP and UDP to a NodePort go from the EXTERNAL port to the INTERNAL one, with their later fragments and the ICMP
 * errors about what is answered; all else from outside is the host's. What comes from the INTERNAL port goes out. docs/services/k8sfilter.md
 */
#include "lib/parse.h"
#include "lib/quote.h"

enum port_kind { PORT_EXTERNAL = 1, PORT_INTERNAL };
struct filter_port {
  u32 kind;
  u32 other; /* the port on the other side, + 1; 0: there is none */
};
BPF_TABLE("array", u32, struct filter_port, ports, PCN_MAX_PORTS);

struct range { /* host order */
  u16 low, high;
};
BPF_TABLE("array", u32, struct range, ranges, 1);

/* First fragments that went to the INTERNAL port, and when (nanoseconds). */
struct fragment_key {
  u32 src[4], dst[4];
  u32 id, proto;
};
BPF_TABLE("lru_hash", struct fragment_key, u64, fragments, 4096);
#define FRAGMENT_TIME 30000000000ULL

static __always_inline bool is_nodeport(u16 port) {
  u32 zero = 0;
  struct range *range = ranges.lookup(&zero);
  return range && port >= range->low && port <= range->high;
}

/* Whether an ICMP error is about something that came from a NodePort. */
static __always_inline bool is_about_nodeport(struct CTXTYPE *ctx, const struct parsed *is) {
  struct rewrite_place at = {.l3 = is->l3, .l4 = is->l4, .end = is->payload_end, .family = is->family, .proto = is->proto};
  struct quote quote;
  bool error = is->family == 6 ? is->icmp_type < 128
                               : is->icmp_type == 3 || is->icmp_type == 4 || is->icmp_type == 5 || is->icmp_type == 11 || is->icmp_type == 12;
  if (!error || !quote_read(ctx, &at, &quote) || !same_address(quote.src, is->dst))
    return false;
  return (quote.at.proto == IPPROTO_TCP || quote.at.proto == IPPROTO_UDP) && quote.has_ports && is_nodeport(ntohs(quote.sport));
}

static __always_inline bool goes_in(struct CTXTYPE *ctx, const struct parsed *is) {
  struct fragment_key key = {.id = is->fragment_id, .proto = is->proto};
  u64 now = bpf_ktime_get_coarse_ns();
  if (is_icmp(is) && !is->later_fragment)
    return is_about_nodeport(ctx, is);
  if (is->proto != IPPROTO_TCP && is->proto != IPPROTO_UDP)
    return false;
  __builtin_memcpy(key.src, is->src, 32);
  if (is->later_fragment) {
    u64 *seen = fragments.lookup(&key);
    return seen && now - *seen < FRAGMENT_TIME;
  }
  bool in = is_nodeport(is->ports);
  if (in && is->fragment)
    fragments.update(&key, &now);
  return in;
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct filter_port *port = ports.lookup(&md->in_port);
  struct parsed is;
  if (!port || !port->kind || !port->other) {
    md->reason = PCN_DROP_NO_PEER;
    return port && port->kind == PORT_EXTERNAL ? RX_OK : RX_DROP;
  }
  if (port->kind == PORT_EXTERNAL && (parse_packet(ctx, &is, md->packet_len) != IS_IP || is.tags || !goes_in(ctx, &is)))
    return RX_OK;
  return pcn_pkt_redirect(ctx, md, port->other - 1);
}
