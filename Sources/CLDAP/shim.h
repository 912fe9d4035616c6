// libldap, OpenLDAP's client library, and the berval of liblber that its calls take.
#ifndef ELEMTA_CLDAP_SHIM_H
#define ELEMTA_CLDAP_SHIM_H

#include <ldap.h>

#endif
