package node

// web is a Deployment of two replicas with a Service, opted in.
const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NS}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, service-mesh-enabled: "true"}}
    spec:
      containers:
      - {name: app, image: "localhost/pillion/app:1", args: [serve], readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}, resources: {requests: {cpu: 10m}}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: NS}
spec: {selector: {app: web}, ports: [{name: http, port: 8080}, {name: grpc, port: 9000}]}
`

// clients are a pod in the mesh and one outside of it, which do nothing until asked.
const clients = `
apiVersion: v1
kind: Pod
metadata: {name: meshed, namespace: NS, labels: {app: meshed, service-mesh-enabled: "true"}}
spec: {containers: [{name: app, image: "localhost/pillion/app:1", args: [sleep, 1h]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: plain, namespace: NS, labels: {app: plain}}
spec: {containers: [{name: app, image: "localhost/pillion/app:1", args: [sleep, 1h]}], terminationGracePeriodSeconds: 1}
`
