/* The switch's µCube 1: neighbour discovery. As by ARP, the switch answers for all that is not behind the port of who asks. */
#include "k8switch.h"
#include "lib/nd.h"

static __always_inline bool answers_for(struct pkt_metadata *md, const struct nd_message *said) {
  u32 asked[4];
  __builtin_memcpy(asked, said->target, 16);
  struct subnets *of = subnets_of(asked);
  if (is_cluster_ip(of, asked) || is_virtual(of, asked))
    return true;
  struct fwd *to = find_fwd(asked);
  return to && to->port != md->in_port;
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct switch_port *port = port_of(md->in_port);
  struct nd_message said = {};
  if (!port)
    return refuse(md, PCN_DROP_NO_PEER);
  if (!nd_read(ctx, md, &said))
    return refuse(md, PCN_DROP_MALFORMED);
  if (port->kind == PORT_NODEPORT || !said.solicits || is_unspecified(said.from) || !answers_for(md, &said))
    return refuse(md, DROP_NO_ENTRY); /* a probe for an address of his own gets no answer */
  if (!nd_advertise(ctx, md, port->mac, &said, ND_SOLICITED))
    return refuse(md, PCN_DROP_MALFORMED);
  return pcn_pkt_redirect(ctx, md, md->in_port);
}
