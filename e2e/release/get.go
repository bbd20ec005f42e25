package release

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// Get is what a status port answers, whatever the status code is.
func Get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", fmt.Errorf("reading what %s answers: %w", url, err)
	}
	return string(body), nil
}
