// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"strconv"
	"sync"
)

// kubeObject has what matters of Kubernetes' Endpoints, EndpointSlice and Status.
type kubeObject struct {
	Metadata struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
		Version   string `json:"resourceVersion"`
		Labels    struct {
			Service string `json:"kubernetes.io/service-name"`
		} `json:"labels"`
	} `json:"metadata"`

	// Subsets are those of Endpoints.
	Subsets []struct {
		Addresses []struct {
			IP string `json:"ip"`
		} `json:"addresses"`
		Ports []kubePort `json:"ports"`
	} `json:"subsets"`

	// Endpoints and Ports are those of an EndpointSlice.
	Endpoints []struct {
		Addresses  []string `json:"addresses"`
		Conditions struct {
			// Ready may be left out, and is then true.
			Ready *bool `json:"ready"`
		} `json:"conditions"`
	} `json:"endpoints"`
	Ports []kubePort `json:"ports"`

	// Code and Message are those of a Status.
	Code    int    `json:"code"`
	Message string `json:"message"`
}

type kubePort struct {
	Name string `json:"name"`
	Port int    `json:"port"`
}

// called reports whether a service_name means the port: by its name, or by its number when it has none.
func (p kubePort) called(name string) bool {
	if p.Name != "" {
		return p.Name == name
	}
	return name == strconv.Itoa(p.Port) || name == ""
}

// endpoint is where one port of a service is served.
type endpoint struct {
	host string
	port kubePort
}

// endpoints is what a cluster has, by service and by the object that says so. It is safe for concurrent use.
type endpoints struct {
	slices bool

	mu sync.Mutex
	// known is nil before the first list.
	known     map[string]map[string][]endpoint
	followers map[string][]chan struct{}
}

func newEndpoints(slices bool) *endpoints {
	return &endpoints{slices: slices, followers: make(map[string][]chan struct{})}
}

// follow returns a channel that has a value as soon as the endpoints of a service are known, and after each change.
func (e *endpoints) follow(service string) chan struct{} {
	changed := make(chan struct{}, 1)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.followers[service] = append(e.followers[service], changed)
	if e.known != nil {
		changed <- struct{}{}
	}
	return changed
}

func (e *endpoints) unfollow(service string, changed chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	others := e.followers[service][:0]
	for _, c := range e.followers[service] {
		if c != changed {
			others = append(others, c)
		}
	}
	if e.followers[service] = others; len(others) == 0 {
		delete(e.followers, service)
	}
}

// nodes returns those of one port of a service.
func (e *endpoints) nodes(service, port string, weight int) (nodes []Node) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, object := range e.known[service] {
		for _, at := range object {
			if at.port.called(port) {
				nodes = append(nodes, Node{Host: at.host, Port: at.port.Port, Weight: weight})
			}
		}
	}
	return nodes
}

// replace forgets all that is not among the objects.
func (e *endpoints) replace(objects []kubeObject) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.known = make(map[string]map[string][]endpoint)
	for i := range objects {
		e.set(&objects[i], false)
	}
	for service := range e.followers {
		e.rouse(service)
	}
}

// change takes over one object.
func (e *endpoints) change(o *kubeObject, deleted bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if service := e.set(o, deleted); service != "" {
		e.rouse(service)
	}
}

// rouse is called with mu.
func (e *endpoints) rouse(service string) {
	for _, changed := range e.followers[service] {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}

// set returns the service that the object is about; "" is none. It is called with mu.
func (e *endpoints) set(o *kubeObject, deleted bool) string {
	name := o.Metadata.Name
	if e.slices {
		name = o.Metadata.Labels.Service
	}
	if name == "" {
		return ""
	}
	service := o.Metadata.Namespace + "/" + name
	of := e.known[service]
	if deleted {
		if delete(of, o.Metadata.Name); len(of) == 0 {
			delete(e.known, service)
		}
		return service
	}
	if of == nil {
		of = make(map[string][]endpoint)
		e.known[service] = of
	}
	of[o.Metadata.Name] = o.served()
	return service
}

// served returns each ready address with each port.
func (o *kubeObject) served() (all []endpoint) {
	for i := range o.Subsets {
		for _, address := range o.Subsets[i].Addresses {
			for _, port := range o.Subsets[i].Ports {
				all = append(all, endpoint{address.IP, port})
			}
		}
	}
	for i := range o.Endpoints {
		if ready := o.Endpoints[i].Conditions.Ready; ready != nil && !*ready {
			continue
		}
		for _, address := range o.Endpoints[i].Addresses {
			for _, port := range o.Ports {
				all = append(all, endpoint{address, port})
			}
		}
	}
	return all
}
