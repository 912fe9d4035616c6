// libunbound, the asynchronous and caching DNS resolver of ElemtaDelivery.
#ifndef ELEMTA_CUNBOUND_SHIM_H
#define ELEMTA_CUNBOUND_SHIM_H

#include <unbound.h>

#endif
