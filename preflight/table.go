package preflight

import "slices"

// Checks are all checks, in the order of the way of a request. There is no second list.
func Checks() []Check {
	return slices.Concat(releaseChecks(), webhookChecks(), certificateChecks(), callChecks(), namespaceChecks(), meshServiceChecks())
}

func releaseChecks() []Check {
	return []Check{
		{
			ID: "release-found", Category: Release, cluster: releaseFound,
			Holds:   "a release of the chart is installed",
			Meaning: "Nothing would answer for pods that opt in.",
			Hint:    "`helm list -A` tells which releases there are; docs/install.md how to install one.",
		},
		{
			ID: "configuration-valid", Category: Release, release: configurationValid,
			Holds:   "the configuration can be read",
			Meaning: "The webhook goes on with the last configuration that it could read, or is not ready where there never was one.",
			Hint:    "Correct `injector` in the release's values. Where this program is older than the release, take the release's own version of it.",
		},
		{
			ID: "kubernetes-version", Category: Release, release: kubernetesVersion,
			Holds:   "the configuration is for the API server's version",
			Meaning: "The webhook chooses between native and classic sidecars by the version that the chart was rendered for.",
			Hint:    "`helm upgrade` renders it anew with the cluster's version; a GitOps tool needs injector.kubernetesVersion in the values.",
		},
		{
			ID: "webhook-available", Category: Release, release: available("webhook"),
			Holds:   "the webhook's replicas are available",
			Meaning: "With none, pods of default namespaces are created without a sidecar and those of strict namespaces are refused.",
			Hint:    "`kubectl -n NAMESPACE describe pods -l app.kubernetes.io/component=webhook` and their logs say why.",
		},
		{
			ID: "controller-available", Category: Release, release: available("controller"),
			Holds:   "the controller's replicas are available",
			Meaning: "Without it, certificates are not renewed and a new release gets none, missed pods are not found, and changes of MeshServices reach no pod.",
			Hint:    "`kubectl -n NAMESPACE describe pods -l app.kubernetes.io/component=controller` and their logs say why.",
		},
		{
			ID: "service-endpoints", Category: Release, release: endpoints,
			Holds:   "the webhook's Service has an endpoint that is ready",
			Meaning: "kube-apiserver finds no replica to connect to.",
			Hint:    "Compare the Service's selector with the labels of the pods, and see whether they are ready.",
		},
		{
			ID: "meshservice-defined", Category: Release, release: meshServicesDefined,
			Holds:   "kube-apiserver knows MeshServices",
			Meaning: "Owners cannot write any; pods pass their traffic through.",
			Hint:    "`helm upgrade` with crds.install: Always for one of the releases.",
		},
	}
}

func webhookChecks() []Check {
	return []Check{
		{
			ID: "webhook-configured", Category: Webhook, release: configurationsFound,
			Holds:   "kube-apiserver is told to call the webhook",
			Meaning: "Without a MutatingWebhookConfiguration that leads to the release's Service, no pod is ever sent to it.",
			Hint:    "`helm upgrade` puts it back. Where something keeps removing it, look at who may change webhook configurations.",
		},
		{
			ID: "webhook-selectors", Category: Webhook, release: selectors,
			Holds:   "the webhook's selectors take what the configuration means",
			Meaning: "Pods of namespaces that opted in are not sent to the webhook, or others are.",
			Hint:    "`helm upgrade` renders selectors and configuration from the same values; look for another hand in the managedFields of the webhook configuration.",
		},
		{
			ID: "revision-clash", Category: Webhook, cluster: clashes,
			Holds:   "no two releases take the same pods",
			Meaning: "Each pod is sent to both, and the second one finds the first one's sidecar.",
			Hint:    "Give each release but one an injector.revision of its own, and label namespaces with pillion.dev/revision.",
		},
		{
			ID: "leftover-configuration", Category: Webhook, cluster: leftovers,
			Holds:   "every webhook configuration of Pillion's belongs to a release",
			Meaning: "What is left of a release still has kube-apiserver call nobody: it delays pods, and refuses those of strict namespaces.",
			Hint:    "Delete the configuration that is named.",
		},
		{
			ID: "later-webhooks", Category: Webhook, release: laterWebhooks,
			Holds:   "no other webhook changes pods after Pillion's",
			Meaning: "kube-apiserver calls webhooks in the order of their configurations' names. One that comes later may strip or reorder what injection added; Pillion's is called once more after it and brings back what it can.",
			Hint:    "`pillionctl status` counts pods whose sidecar was damaged. If there are any, name the other configuration so that it comes first.",
		},
	}
}

func certificateChecks() []Check {
	return []Check{
		{
			ID: "ca-bundle", Category: Certificate, release: caBundle,
			Holds:   "each webhook entry has a CA to trust",
			Meaning: "kube-apiserver does not believe the webhook, and every call fails.",
			Hint:    "With tls.source controller, the controller's log and Events say why it was not written; with provided, write your CA into both webhook configurations.",
		},
		{
			ID: "certificate-trusted", Category: Certificate, release: certificateTrusted,
			Holds:   "the certificate in the Secret is one that the caBundle vouches for",
			Meaning: "kube-apiserver does not believe the webhook, and every call fails.",
			Hint:    "See docs/runbooks/PillionCABundleContested.md: another hand may write the caBundle, or the Secret was replaced.",
		},
		{
			ID: "certificate-ends", Category: Certificate, release: certificateEnds,
			Holds:   "the certificate in the Secret is valid and was renewed in time",
			Meaning: "After its end, kube-apiserver does not believe the webhook.",
			Hint:    "See docs/runbooks/PillionCertificateNearItsEnd.md.",
		},
	}
}

func callChecks() []Check {
	return []Check{
		{
			ID: "call-dns", Category: Call, release: callFailed(PhaseDNS),
			Holds:   "kube-apiserver finds the webhook's Service",
			Meaning: "There is no Service of the name in the webhook configuration, or it has no address.",
			Hint:    "`kubectl get service` in the release's namespace; `helm upgrade` puts it back.",
		},
		{
			ID: "call-tcp", Category: Call, release: callFailed(PhaseTCP),
			Holds:   "kube-apiserver connects to the webhook",
			Meaning: "No replica listens, or something between them drops the connection.",
			Hint:    "Look at the replicas first. A private cluster's firewall has to let the control plane reach webhook.port (8443); a NetworkPolicy has to let it in (networkPolicy.admissionFrom).",
		},
		{
			ID: "call-tls", Category: Call, release: callFailed(PhaseTLS),
			Holds:   "kube-apiserver believes the webhook's certificate",
			Meaning: "The caBundle does not vouch for the certificate that is served, the certificate is not for the Service's name, or it has ended.",
			Hint:    "The checks of the category certificate say which. A replica takes over a renewed Secret when kubelet brings it, within a minute or so.",
		},
		{
			ID: "call-http", Category: Call, release: callFailed(PhaseHTTP),
			Holds:   "the webhook answers kube-apiserver",
			Meaning: "Something answers, and not with a verdict: the webhook has no configuration, is overloaded or met a bug; or it is another program.",
			Hint:    "The message has the HTTP status and a reason code; the webhook's log has the line.",
		},
		{
			ID: "call-timeout", Category: Call, release: callFailed(PhaseTimeout),
			Holds:   "the webhook answers in time",
			Meaning: "No answer came within timeoutSeconds. A firewall that drops packets looks the same as a webhook that hangs.",
			Hint:    "If the replicas are ready, look at the way from the control plane to webhook.port (8443): firewall, NetworkPolicy, konnectivity.",
		},
		{
			ID: callInjects, Category: Call, release: injects,
			Holds:   "a pod that opts in gets its sidecar",
			Meaning: "kube-apiserver was asked to create a pod, as a dry run that stores nothing, and it came back without one or with one that cannot work, or was refused for that.",
			Hint:    "The findings above are the reasons.",
		},
	}
}

func namespaceChecks() []Check {
	return []Check{
		{
			ID: "namespace-without-effect", Category: Namespaces, cluster: nothingInjected,
			Holds:   "in every namespace with the opt-in label pods get sidecars",
			Meaning: "Somebody labelled a namespace and nothing happens.",
			Hint:    "Correct the label, or remove it.",
		},
		{
			ID: "pods-refused", Category: Namespaces, namespace: refusals,
			Holds:   "the webhook refuses no workload's pods",
			Meaning: "Something that the owner wrote would break the pod's traffic.",
			Hint:    "`pillionctl why -f` says what is accepted.",
		},
		{
			ID: "pod-security", Category: Namespaces, namespace: podSecurity,
			Holds:   "the namespace's Pod Security level takes injected pods",
			Meaning: "pillion-init needs NET_ADMIN and NET_RAW, and root to use them, to lead the pod's traffic through Envoy. The levels baseline and restricted refuse that.",
			Hint:    "Use a namespace with the label pod-security.kubernetes.io/enforce: privileged for meshed pods.",
		},
		{
			ID: "limit-range", Category: Namespaces, namespace: limitRange,
			Holds:   "the namespace's LimitRanges take the injected containers, and the pods with them",
			Meaning: "LimitRanges of the type Container are applied to the sidecar as to any container, those of the type Pod to the pod with its sidecar; what is outside of them refuses the whole pod.",
			Hint:    "Set sidecar.resources for the namespace in the configuration, or the annotations pillion.dev/cpu-request and the like on the pods; or widen the LimitRange.",
		},
		{
			ID: "resource-quota", Category: Namespaces, namespace: resourceQuota,
			Holds:   "the namespace's ResourceQuotas have room for a rolling update with sidecars",
			Meaning: "A rolling update stops half way when the quota is used up.",
			Hint:    "Raise the quota by what is named, or make sidecar.resources smaller.",
		},
		{
			ID: "autoscaler-average", Category: Namespaces, namespace: autoscalers,
			Holds:   "no autoscaler takes an average over app and sidecar",
			Meaning: "The utilisation is that of all containers together against what they request together: the sidecar's part hides the app's.",
			Hint:    "In its metrics, take type ContainerResource with the app's container.",
		},
		{
			ID: "disruption-budget", Category: Namespaces, namespace: budgets,
			Holds:   "the namespace's PodDisruptionBudgets let pods be evicted",
			Meaning: "A pod that has to be replaced cannot be evicted; a rolling update is not held up.",
			Hint:    "`kubectl rollout restart` replaces pods without eviction. For node drains, allow one disruption.",
		},
	}
}

func meshServiceChecks() []Check {
	return []Check{
		{
			ID: "meshservice-rendered", Category: Namespaces, namespace: meshServicesRendered,
			Holds:   "each MeshService is valid, and Envoy's configuration was made of it",
			Meaning: "What was made of it before stays in force; where there was nothing, pods pass their traffic through.",
			Hint:    "`pillionctl config lint` on its file says where it is wrong and what is accepted.",
		},
		{
			ID: "meshservice-applied", Category: Namespaces, namespace: meshServicesApplied,
			Holds:   "each MeshService is run by all pods of its service",
			Meaning: "A pod that rejects one goes on with what it ran before.",
			Hint:    "The message is the pod's own: mend what it names. Of pods that do not answer, look at NetworkPolicies between the controller and the sidecar's status port.",
		},
		{
			ID: "meshservice-matches", Category: Namespaces, namespace: meshServicesMatch,
			Holds:   "each MeshService has the name of a service that pods are of",
			Meaning: "It has no effect: its name is neither the identity of a workload's pods nor that of a pod that runs.",
			Hint:    "Name it as the service; `pillionctl why` says how a pod comes to its identity.",
		},
		{
			ID: "meshservice-mounted", Category: Namespaces, namespace: meshServicesMounted,
			Holds:   "every pod has a volume for the MeshService of its service",
			Meaning: "Pods that were injected before the configuration or the version brought MeshServices to them pass their traffic through.",
			Hint:    "`kubectl rollout restart` of their workload.",
		},
	}
}

// Anchor is the check's place in docs/reference/checks.md.
func (c *Check) Anchor() string { return c.ID }
