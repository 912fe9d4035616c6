// libyaml's event parser: the only part that ElemtaConfiguration calls.
#ifndef ELEMTA_CLIBYAML_SHIM_H
#define ELEMTA_CLIBYAML_SHIM_H

#include <yaml.h>

#endif
