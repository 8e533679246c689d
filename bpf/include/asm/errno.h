#include <uapi/asm/errno.h>
