/* Empty: see __HAVE_BUILTIN_BSWAP16__ in <linux/kconfig.h>. */
