/* A filter of packets in tcpdump's syntax, which a leaf of the model has (pcn:filter): the linker puts its code here, compiled to classic
 * BPF by libpcap and translated (reconciler/link/classic.py). The answer: how many bytes of the packet it wants, 0 for none. A
 * configuration without that leaf wants all of every packet. Under TC the packet may be moved: pointers into it must be made anew.
 *
 * To the compiler it is a helper, whose number is what the place is found by, and so is its reach: up to which byte it looks.
 */
#ifndef PCN_LIB_FILTER_H
#define PCN_LIB_FILTER_H

#define PCN_FILTER_HELPER 0x70000000
#define PCN_REACH_HELPER 0x60000000
#define pcn_filter(ctx, name)                                                      \
  ({                                                                               \
    pcn_pull(ctx, ((u64 (*)(void))(unsigned long)(PCN_REACH_HELPER | (name)))());  \
    ((u64 (*)(void *))(unsigned long)(PCN_FILTER_HELPER | (name)))(ctx);           \
  })
#endif
